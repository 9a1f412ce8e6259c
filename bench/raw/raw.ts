import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { migrate } from '../../server/src/db/migrate.js'
import { cpuSeconds, endedChildrenCpuSeconds } from '../machine/cpu.js'
import { ROOT } from '../machine/folders.js'
import type { Database } from '../machine/postgres.js'
import { counting } from '../measure.js'
import type { Setting } from '../rig.js'
import type { Outcome } from '../workloads/workload.js'
import { canPgbench, loop, pgbench, type Script } from './turns.js'

/** Each statement of the scripts in this folder is about 500 runs, but for insert-one.sql. */
const USUAL = { batch: 500, clients: 2 }

/** A way to keep runs, and the life of a run in it. */
export interface Shape {
  schema: 'ours' | 'record-reproq.sql' | 'record-lean.sql'
  life: string[]
}

export const SHAPES: Record<string, Shape> = {
  "one wide table, Reproq's ten indexes": { schema: 'record-reproq.sql', life: ['insert-wide.sql', 'claim-complete-wide.sql'] },
  'one wide table, two partial indexes': { schema: 'record-lean.sql', life: ['insert-wide.sql', 'claim-complete-wide.sql'] },
  'our schema, through the ready table': { schema: 'ours', life: ['insert-ready.sql', 'claim-complete.sql'] },
  'our schema, born leased': { schema: 'ours', life: ['born-leased.sql'] },
}

export const rawRunner = canPgbench() ? 'pgbench -M prepared' : 'a loop in Node with pg'

/** Insert, claim and complete `count` runs, 500 at a time, two clients. */
export function rawLife(setting: Setting, count: number, { schema, life }: Shape = SHAPES['our schema, through the ready table'] as Shape): Promise<Outcome> {
  return cell(setting, schema, count, [], life)
}

/** Claim and complete a backlog of `count` ready runs. */
export function rawDrain(setting: Setting, count: number): Promise<Outcome> {
  return cell(setting, 'ours', count, ['insert-ready.sql'], ['claim-complete.sql'])
}

/** `clients` at once, one run a statement; or with 0 of them 500 runs a statement from two. */
export function rawEnqueue(setting: Setting, count: number, clients: number): Promise<Outcome> {
  if (clients === 0) return cell(setting, 'ours', count, [], ['insert-ready.sql'])
  return cell(setting, 'ours', count, [], ['insert-one.sql'], { batch: 1, clients })
}

async function cell(setting: Setting, schema: Shape['schema'], count: number, before: string[], measured: string[], pace = USUAL): Promise<Outcome> {
  const { postgres } = setting
  const database = await postgres.freshDatabase()
  try {
    await create(database, schema)
    if (before.length > 0) await turns(database, before, count, USUAL)
    await postgres.settle(setting.settleMs)
    const cost = await counting(postgres, { broker: 0, worker: 0, producer: 0 })
    const clientBefore = clientCpuSeconds()
    const seconds = await turns(database, measured, count, pace)
    const paid = await cost()
    paid.cpu.worker = clientCpuSeconds() - clientBefore
    return { figures: { 'tasks/s': count / seconds }, tasks: count, cost: paid }
  } finally {
    await database.drop()
  }
}

async function create(database: Database, schema: Shape['schema']): Promise<void> {
  if (schema === 'ours') await migrate({ url: database.url })
  else await database.query(text(schema))
}

/** pgbench is a child of this process; the loop is this process itself. */
function clientCpuSeconds(): number {
  return canPgbench() ? endedChildrenCpuSeconds() : cpuSeconds(process.pid)
}

/** Runs the scripts one after the other in each turn, often enough for `count` runs. Seconds. */
function turns(database: Database, names: string[], count: number, { batch, clients }: typeof USUAL): Promise<number> {
  const script: Script = { text: names.map(text).join('\n'), perClient: Math.ceil(count / batch / clients), clients }
  return canPgbench() ? pgbench(database.url, script) : loop(database.url, script)
}

/** Read from the sources: the compiler leaves SQL behind. */
function text(name: string): string {
  return readFileSync(join(ROOT, 'bench/raw', name), 'utf8')
}
