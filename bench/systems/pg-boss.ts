import type { System } from './system.js'

const common = 'partition, notify, supervise and schedule off, burstWhenBatchFull, insert()'

export const pgBoss: System = {
  name: 'pg-boss',
  player: 'pg-boss',
  package: 'pg-boss',
  hasBroker: false,
  variants: [
    { label: `batchSize 500, localConcurrency 4, ${common}`, settings: { batchSize: 500, localConcurrency: 4 } },
    { label: `batchSize 1000, localConcurrency 2, ${common}`, settings: { batchSize: 1_000, localConcurrency: 2 } },
    { label: `batchSize 100, localConcurrency 4, ${common}`, settings: { batchSize: 100, localConcurrency: 4 } },
  ],
  unfinishedSql: "SELECT EXISTS (SELECT FROM pgboss.job WHERE state < 'completed')",
  keptSql: "SELECT count(*) FROM pgboss.job WHERE state = 'completed'",
  share: 1,
}
