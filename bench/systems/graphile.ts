import type { System } from './system.js'

const common = {
  player: 'graphile',
  package: 'graphile-worker',
  hasBroker: false,
  fillSql: { ready: fill('NULL', 0), future: fill("now() + interval '1 day'", -10) },
  unfinishedSql: 'SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)',
}

/** With all its batching: the fastest way to run it. */
export const graphile: System = {
  ...common,
  name: 'graphile',
  variants: [
    { label: 'localQueue 1000, batch delays 0, 24 concurrent, addJobs', settings: { localQueue: 1_000, concurrency: 24 } },
    { label: 'localQueue 500, batch delays 0, 24 concurrent, addJobs', settings: { localQueue: 500, concurrency: 24 } },
    { label: 'localQueue 2000, batch delays 0, 24 concurrent, addJobs', settings: { localQueue: 2_000, concurrency: 24 } },
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

function fill(runAt: string, priority: number): string {
  const job = `ROW ('noop', '{"at":1234567890,"fill":"0123456789012345"}', NULL, ${runAt}, NULL, NULL, ${priority}, NULL)::graphile_worker.job_spec`
  return `SELECT count(*) FROM graphile_worker.add_jobs (ARRAY (SELECT ${job} FROM generate_series(1, $1)))`
}
