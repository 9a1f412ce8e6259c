import { createHash } from 'node:crypto'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import type { NewRun } from './spec.js'

/** Where an enqueue ended: a new run, or the one its idempotency key already had. `delayMs` until it is due. */
export interface Placed {
  id: string
  deduplicated: boolean
  delayMs: number
}

type Columns = [string[], string[], number[], string[], string[], (number | null)[], number[], number[]]
const enqueueSql = statement<Columns, Placed>(import.meta.url, 'enqueue.sql')
const enqueueOnceSql = statement<[...Columns, (Buffer | null)[]], Placed>(import.meta.url, 'enqueue-once.sql')

/** → READY or scheduled. All of `runs`, or none; in their order. */
export async function enqueue(db: Db, runs: NewRun[]): Promise<Placed[]> {
  if (runs.every((run) => run.idempotencyKey === null)) return db.query(enqueueSql, columns(runs))
  return enqueueOnce(db, runs)
}

/** A key that comes twice in one batch makes one run: the statement is given each key once, and the twins share its answer. */
async function enqueueOnce(db: Db, runs: NewRun[]): Promise<Placed[]> {
  const firstOf = new Map<string, number>()
  const keys = runs.map((run, index) => (run.idempotencyKey === null ? `\0${index}` : `${run.task}\x1f${run.idempotencyKey}`))
  keys.forEach((key, index) => firstOf.has(key) || firstOf.set(key, index))

  const distinct = [...firstOf.values()].map((index) => runs[index] as NewRun)
  const placed = await db.query(enqueueOnceSql, [...columns(distinct), distinct.map(keyHash)])
  const placedByKey = new Map([...firstOf.keys()].map((key, index) => [key, placed[index] as Placed]))
  return keys.map((key, index) => {
    const one = placedByKey.get(key) as Placed
    return firstOf.get(key) === index ? one : { ...one, deduplicated: true }
  })
}

/** The key is one of its task's; the same digest is made by reproq_enqueue() in SQL. */
function keyHash(run: NewRun): Buffer | null {
  return run.idempotencyKey === null ? null : createHash('sha256').update(`${run.task}\x1f${run.idempotencyKey}`).digest()
}

function columns(runs: NewRun[]): Columns {
  return [
    runs.map((run) => run.task),
    runs.map((run) => run.queue),
    runs.map((run) => run.priority),
    runs.map((run) => run.spec),
    runs.map((run) => run.specHash),
    runs.map((run) => run.runAfterMs),
    runs.map((run) => run.maxAttempts),
    runs.map((run) => run.timeoutSeconds),
  ]
}
