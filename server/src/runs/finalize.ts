import type { Status } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** The verdict on one leased run that did not go well. `status` READY is another attempt after `delayMs`. */
export interface Finalization {
  run: string
  lease: string
  status: 'FAILED' | 'CANCELLED' | 'READY'
  /** Entry for errors_json, JSON text. */
  error: string | null
  lastError: string | null
  delayMs: number
  /** How often it has crashed by now, if this was a crash. */
  crashes?: number | null | undefined
}

/** A run after its attempt ended. */
export interface Settled {
  run: string
  lease: string
  status: Status
  queue: string
  task: string
  attempt: number
  delayMs: number
  /** It had a key that others may wait for. */
  keyed: boolean
}

const finalizeSql = statement<[string[], string[], string[], (string | null)[], (string | null)[], number[], (number | null)[]], Settled>(import.meta.url, 'finalize.sql')

/** RUNNING → FAILED, CANCELLED, or READY again; SUCCESSFUL is `succeed`. Returns only the runs whose lease still held; the others were not touched. */
export function finalize(db: Db, items: Finalization[]): Promise<Settled[]> {
  return db.query(finalizeSql, [
    items.map((item) => item.run),
    items.map((item) => item.lease),
    items.map((item) => item.status),
    items.map((item) => item.error),
    items.map((item) => item.lastError),
    items.map((item) => item.delayMs),
    items.map((item) => item.crashes ?? null),
  ])
}

export type Refusal = 'duplicate' | 'already_final' | 'stale_lease'
const refusalsSql = statement<[string[], string[]], { run: string; lease: string; verdict: Refusal }>(import.meta.url, 'refusals.sql')

/** Why these could not be finalized. */
export function refusals(db: Db, items: { run: string; lease: string }[]) {
  return db.query(refusalsSql, [items.map((item) => item.run), items.map((item) => item.lease)])
}
