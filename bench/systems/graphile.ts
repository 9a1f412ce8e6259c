import type { System } from './system.js'

const common = {
  player: 'graphile',
  package: 'graphile-worker',
  hasBroker: false,
  unfinishedSql: 'SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)',
}

/** With all its batching: the fastest way to run it. */
export const graphile: System = {
  ...common,
  name: 'graphile',
  variants: [
    { label: 'localQueue 500, batch delays 0, 24 concurrent, addJobs', settings: { localQueue: 500, concurrency: 24 } },
    { label: 'localQueue 1000, batch delays 0, 24 concurrent, addJobs', settings: { localQueue: 1_000, concurrency: 24 } },
    { label: 'localQueue 500, batch delays 0, 100 concurrent, addJobs', settings: { localQueue: 500, concurrency: 100 } },
  ],
  share: 1,
}

/** As it comes, but for the number of jobs at once. */
export const graphileDefault: System = {
  ...common,
  name: 'graphile-default',
  variants: [{ label: 'defaults, 24 concurrent, pool 10, addJobs', settings: { concurrency: 24 } }],
  share: 0.2,
}
