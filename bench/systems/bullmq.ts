import type { System } from './system.js'

export const bullmq: System = {
  name: 'bullmq',
  player: 'bullmq',
  package: 'bullmq',
  hasBroker: false,
  variants: [
    { label: 'Postgres backend, concurrency 32, pool 32, addBulk', settings: { concurrency: 32, pool: 32 } },
    { label: 'Postgres backend, concurrency 64, pool 32, addBulk', settings: { concurrency: 64, pool: 32 } },
    { label: 'Postgres backend, concurrency 16, pool 16, addBulk', settings: { concurrency: 16, pool: 16 } },
  ],
  unfinishedSql: "SELECT EXISTS (SELECT FROM bullmq.job WHERE state IN ('waiting', 'active', 'delayed'))",
  keptSql: "SELECT count(*) FROM bullmq.job WHERE state = 'completed'",
  share: 0.1,
}
