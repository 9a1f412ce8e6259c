import { randomUUID } from 'node:crypto'
import { settings } from '../config.js'
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
  /** The run's own retry policy, as JSON text. */
  retry: string | null
  /** Of a run that waited for others: what they came to, as JSON text, or a sentence that it is too much. Null for nearly every run. */
  parents: string | null
  /** What an earlier attempt left, JSON text; null for nearly every run, as is the next. */
  checkpoint: string | null
  /** How often it has taken its process with it. */
  crashes: number | null
}

type Params = [queues: string[], places: string, sessions: string[], workers: string[], leases: string, leaseMs: number, parentsBytes: number]
type Row = (Leased | { run: null }) & { taken: number; reached: string | null; gated: boolean }
const leaseSql = statement<[...Params, marks: string], Row>(import.meta.url, 'lease.sql')

/** Below every claim key. */
export const HEAD = '-9223372036854775808'

interface Turn {
  taken: number
  /** Of each queue that gave entries, the claim key of the last. */
  reached: Map<string, string>
  gated: boolean
  runs: Leased[]
}

/**
 * READY → RUNNING. Hands ready runs of `queues` to `slots`, one each: the queues take turns in this order, each with its best
 * run. `taken` counts the entries that left the ready table: fewer than slots means that the queues are empty, from `marks` on (claim
 * keys; default: from the head). `gated`: none was leased, because some have to be asked for one by one (`leaseGated`).
 */
export async function lease(db: Db, queues: string[], slots: Slot[], leaseMs: number, parentsBytes?: number, marks: string[] = queues.map(() => HEAD)): Promise<Turn> {
  const rows = await db.query(leaseSql, [...paramsOf(queues, slots, leaseMs, parentsBytes), plainArray(marks)])
  const { taken = 0, reached, gated = false } = rows[0] ?? {}
  return { taken, reached: marksOf(queues, reached ?? ''), gated, runs: leasedOf(rows) }
}

function marksOf(queues: string[], text: string): Map<string, string> {
  const marks = text.split(',').filter(Boolean).map((mark) => mark.split(':') as [string, string])
  return new Map(marks.map(([turn, key]) => [queues[Number(turn) - 1] as string, key]))
}

/** What a turn of `leaseGated` found besides runs to lease. */
interface Passage {
  /** It met what only `leaseGated` may lease. */
  gated: boolean
  /** There may be more for the same queues: ask again. */
  more: boolean
  /** Runs that somebody holds locked, and that were passed over: nobody tells when he lets go. */
  skipped: number
  /** Keys have got room in passing, for others that wait. */
  freed: boolean
  /** Milliseconds until a rate limit that runs wait for has its next token; null: none waits. */
  nextMs: number | null
  /** Queues that have got ready runs. */
  woken: string[]
  /** Runs that came too late, and are over. */
  expired: { run: string; queue: string; task: string }[]
}
const leaseGatedSql = statement<[...Params, number], (Leased | { run: null }) & Omit<Passage, 'expired'> & { expired: string }>(import.meta.url, 'lease-gated.sql')
/** Blocked entries are looked at once each, but nobody else leases meanwhile: what is left is for the next turn. */
const MOST_LOOKED_AT = 1_000

/** READY → RUNNING for runs with keys, limits or an expiry, and all that stand in line with them. One at a time in all brokers. */
export async function leaseGated(db: Db, queues: string[], slots: Slot[], leaseMs: number, most = MOST_LOOKED_AT, parentsBytes?: number): Promise<Passage & { runs: Leased[] }> {
  const rows = await db.query(leaseGatedSql, [...paramsOf(queues, slots, leaseMs, parentsBytes), most])
  const { gated = false, more = false, skipped = 0, freed = false, nextMs = null, woken = [], expired = '[]' } = rows[0] ?? {}
  return { gated, more, skipped, freed, nextMs, woken, expired: JSON.parse(expired) as Passage['expired'], runs: leasedOf(rows) }
}

function paramsOf(queues: string[], slots: Slot[], leaseMs: number, parentsBytes: number = settings.parentsBytes.default): Params {
  const places = new Distinct(slots, (slot) => slot.sessionId)
  return [
    queues,
    plainArray(places.indexes),
    places.values.map((slot) => slot.sessionId),
    places.values.map((slot) => slot.workerId),
    plainArray(slots.map((slot) => slot.lease ?? randomUUID())),
    leaseMs,
    parentsBytes,
  ]
}

function leasedOf<Row extends Leased | { run: null }>(rows: Row[]) {
  return rows.filter((row): row is Row & Leased => row.run !== null)
}
