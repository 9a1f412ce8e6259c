import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** A free place for one run: which session and worker would hold it. */
export interface Slot {
  sessionId: string
  workerId: string
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
  spec: string
  cancelRequested: boolean
}

type Row = Omit<Leased, 'lease'> & { lease: string | null }
const leaseSql = statement<[string[], string[], string[], number], Row>(import.meta.url, 'lease.sql')

/**
 * READY → RUNNING. Hands the best ready runs of `queues` to `slots`, one each. `taken` counts the entries that left the
 * ready table: fewer than slots means that the queues are empty.
 */
export async function lease(db: Db, queues: string[], slots: Slot[], leaseMs: number): Promise<{ taken: number; runs: Leased[] }> {
  const rows = await db.query(leaseSql, [queues, slots.map((slot) => slot.sessionId), slots.map((slot) => slot.workerId), leaseMs])
  const runs = rows.filter((row): row is Leased => row.lease !== null)
  // Slots are numbered from 1 in SQL.
  for (const run of runs) run.slot -= 1
  return { taken: rows.length, runs }
}
