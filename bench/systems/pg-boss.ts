import type { System } from './system.js'

const label = 'partition, notify, supervise and schedule off, burstWhenBatchFull, insert()'

const common = {
  player: 'pg-boss',
  package: 'pg-boss',
  hasBroker: false,
  unfinishedSql: "SELECT EXISTS (SELECT FROM pgboss.job WHERE state < 'completed')",
  keptSql: "SELECT count(*) FROM pgboss.job WHERE state = 'completed'",
  share: 1,
}

/** One handler call and one verdict for a whole batch: if one task of the batch fails, all are tried again. */
export const pgBoss: System = {
  ...common,
  name: 'pg-boss',
  variants: [
    { label: `batchSize 500, localConcurrency 4, ${label}`, settings: { batchSize: 500, localConcurrency: 4 } },
    { label: `batchSize 1000, localConcurrency 2, ${label}`, settings: { batchSize: 1_000, localConcurrency: 2 } },
    { label: `batchSize 100, localConcurrency 4, ${label}`, settings: { batchSize: 100, localConcurrency: 4 } },
  ],
}

/** A verdict and a result for each task, as everybody else here has it. */
export const pgBossEach: System = {
  ...common,
  name: 'pg-boss-each',
  variants: [{ label: `batchSize 500, localConcurrency 4, perJobResults, ${label}`, settings: { batchSize: 500, localConcurrency: 4, each: 1 } }],
}
