import { randomUUID } from 'node:crypto'
import { plainArray } from '../db/plain-array.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import { Distinct } from './distinct.js'

/** A free place for one run: which session and worker would hold it. */
export interface Slot {
  sessionId: string
  workerId: string
  /** Id of the lease that would be made; known before it is written, it can be told from a stray one. Default: a new one. */
  lease?: string
}

/** A run leased to the session of `slot` (an index into the slots asked for). */
export interface Leased {
  slot: number
  run: string
  lease: string
  task: string
  queue: string
  attempt: number
  maxAttempts: number
  timeoutMs: number
  /** Reproq's spec_json, as JSON text. */
  spec: string
  cancelRequested: boolean
}

type Row = (Leased | { run: null }) & { taken: number }
const leaseSql = statement<[string[], string, string[], string[], string, number], Row>(import.meta.url, 'lease.sql')

/**
 * READY → RUNNING. Hands the best ready runs of `queues` to `slots`, one each. `taken` counts the entries that left the
 * ready table: fewer than slots means that the queues are empty.
 */
export async function lease(db: Db, queues: string[], slots: Slot[], leaseMs: number): Promise<{ taken: number; runs: Leased[] }> {
  const places = new Distinct(slots, (slot) => slot.sessionId)
  const rows = await db.query(leaseSql, [
    queues,
    plainArray(slots.map((slot) => places.indexOf(slot))),
    places.values.map((slot) => slot.sessionId),
    places.values.map((slot) => slot.workerId),
    plainArray(slots.map((slot) => slot.lease ?? randomUUID())),
    leaseMs,
  ])
  const runs = rows.filter((row): row is Leased & { taken: number } => row.run !== null)
  return { taken: rows[0]?.taken ?? 0, runs }
}
