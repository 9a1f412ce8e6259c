import { createHash } from 'node:crypto'
import { plainArray } from '../db/plain-array.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import { Distinct } from './distinct.js'
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
export type Offer = Slot & { lease: string }

type PlainColumns = [
  specs: string,
  hashes: string,
  kinds: string,
  runAfterMs: string,
  places: string,
  leases: string,
  tasks: string[],
  queues: string[],
  priorities: number[],
  maxAttempts: number[],
  timeoutSeconds: number[],
  sessions: string[],
  workers: string[],
  leaseMs: number,
]
const enqueueSql = statement<PlainColumns, { ids: string; delays: string; leased: string }>(import.meta.url, 'enqueue.sql')

type Columns = [string[], string[], number[], string[], string[], (number | null)[], number[], number[], (Buffer | null)[], (string | null)[]]
const enqueueControlledSql = statement<Columns, Placed>(import.meta.url, 'enqueue-controlled.sql')

/**
 * → READY, scheduled, or RUNNING where `offers` has a lease for the run. All of `runs`, or none; in their order. When one of
 * them has an idempotency key or a control, none is born leased.
 */
export async function enqueue(db: Db, runs: NewRun[], offers: (Offer | undefined)[] = [], leaseMs = 0): Promise<Placed[]> {
  if (runs.length === 0) return []
  if (runs.some(isControlled)) return enqueueControlled(db, runs)
  const kinds = new Distinct(runs, (run) => `${run.priority} ${run.maxAttempts} ${run.timeoutSeconds} ${run.queue}\0${run.task}`)
  const offered = offers.flatMap((offer, index) => (offer ? [{ offer, index }] : []))
  const places = new Distinct(offered, ({ offer }) => offer.sessionId)
  const placeOf = new Array<number>(runs.length).fill(0)
  offered.forEach(({ index }, at) => (placeOf[index] = places.indexes[at] as number))
  const [row] = await db.query(enqueueSql, [
    // One document rather than an array of texts: nothing in it has to be escaped.
    `[${runs.map((run) => run.spec).join(',')}]`,
    plainArray(runs.map((run) => run.specHash)),
    plainArray(kinds.indexes),
    plainArray(runs.map((run) => run.runAfterMs)),
    plainArray(placeOf),
    plainArray(runs.map((_, index) => offers[index]?.lease ?? null)),
    kinds.values.map((run) => run.task),
    kinds.values.map((run) => run.queue),
    kinds.values.map((run) => run.priority),
    kinds.values.map((run) => run.maxAttempts),
    kinds.values.map((run) => run.timeoutSeconds),
    places.values.map(({ offer }) => offer.sessionId),
    places.values.map(({ offer }) => offer.workerId),
    leaseMs,
  ])
  if (!row) throw new Error('enqueue.sql returned no row')
  const delays = row.delays.split(',')
  const leased = row.leased.split(',')
  return row.ids.split(',').map((id, index) => ({ id, deduplicated: false, delayMs: Number(delays[index]), leased: leased[index] === '1' }))
}

/** Whether the run needs more than the plain statement does. */
export function isControlled(run: NewRun): boolean {
  return run.control !== null || run.idempotencyKey !== null
}

/** What comes twice in one batch makes one run: the statement is given each key and each hash once, and the twins share its answer. */
async function enqueueControlled(db: Db, runs: NewRun[]): Promise<Placed[]> {
  const firstOf = new Map<string, number>()
  const names = runs.map(nameOf)
  names.forEach((name, index) => firstOf.has(name) || firstOf.set(name, index))

  const distinct = [...firstOf.values()].map((index) => runs[index] as NewRun)
  const placed = await db.query(enqueueControlledSql, columns(distinct))
  const placedByName = new Map([...firstOf.keys()].map((name, index) => [name, placed[index] as Placed]))
  return names.map((name, index) => {
    const one = placedByName.get(name) as Placed
    return firstOf.get(name) === index ? one : { ...one, deduplicated: true }
  })
}

/** The same for runs of which one is to be made; its own for every other. */
function nameOf({ idempotencyKey, task, control, specHash }: NewRun, index: number): string {
  if (idempotencyKey !== null) return `key ${task}\x1f${idempotencyKey}`
  return control?.deduplicate ? `hash ${specHash}` : `${index}`
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
    runs.map(keyHash),
    runs.map(({ control }) => control && JSON.stringify(control)),
  ]
}
