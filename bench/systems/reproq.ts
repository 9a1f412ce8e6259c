import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../machine/folders.js'
import type { System } from './system.js'

export const reproq: System = {
  name: 'reproq',
  player: 'reproq',
  hasBroker: true,
  variants: [
    { label: 'one remote worker, concurrency 200, window 4000', settings: { concurrency: 200, window: 4_000 } },
    { label: 'one remote worker, concurrency 200, window 1000', settings: { concurrency: 200, window: 1_000 } },
    { label: 'one remote worker, concurrency 100, window 500', settings: { concurrency: 100, window: 500 } },
    { label: 'one remote worker, concurrency 50, window 200', settings: { concurrency: 50, window: 200 } },
  ],
  unfinishedSql: 'SELECT EXISTS (SELECT FROM reproq_ready) OR EXISTS (SELECT FROM reproq_leases)',
  keptSql: "SELECT count(*) FROM task_runs WHERE status = 'SUCCESSFUL' AND return_json = '1'",
  fillSql: { ready: sql('fill-ready.sql'), future: sql('fill-future.sql') },
  share: 1,
}

function sql(name: string): string {
  return readFileSync(join(ROOT, 'bench/systems', name), 'utf8')
}
