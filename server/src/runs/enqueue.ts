import { createHash } from 'node:crypto'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import type { Slot } from './lease.js'
import type { NewRun } from './spec.js'

/** Where an enqueue ended: a new run, or the one its idempotency key already had. `delayMs` until it is due. */
export interface Placed {
  id: string
  deduplicated: boolean
  delayMs: number
  /** It was born under the lease it was offered. */
  leased: boolean
}

/** A lease for a run that does not exist yet. */
export interface Offer extends Slot {
  lease: string
}

type Columns = [string[], string[], number[], string[], string[], (number | null)[], number[], number[]]
type Offers = [(string | null)[], (string | null)[], (string | null)[], number]
const enqueueSql = statement<[...Columns, ...Offers], Placed>(import.meta.url, 'enqueue.sql')
const enqueueOnceSql = statement<[...Columns, (Buffer | null)[]], Placed>(import.meta.url, 'enqueue-once.sql')

/**
 * → READY, scheduled, or RUNNING where `offers` has a lease for the run. All of `runs`, or none; in their order. When one of
 * them has an idempotency key, none is born leased.
 */
export function enqueue(db: Db, runs: NewRun[], offers: (Offer | undefined)[] = [], leaseMs = 0): Promise<Placed[]> {
  if (runs.some((run) => run.idempotencyKey !== null)) return enqueueOnce(db, runs)
  const ofEach = (pick: (offer: Offer) => string) => runs.map((_, index) => (offers[index] ? pick(offers[index]) : null))
  return db.query(enqueueSql, [...columns(runs), ofEach(({ sessionId }) => sessionId), ofEach(({ workerId }) => workerId), ofEach(({ lease }) => lease), leaseMs])
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
