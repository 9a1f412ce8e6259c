import { BrokerError } from '../errors.js'
import { LAST_MS, timetable } from './cron.js'

/** What a schedule says about its slots. Null is the default of each. */
export interface SlotRules {
  cron: string
  timeZone: string | null
  missed: 'skip' | 'last' | 'all' | null
  missedWindowMs: number | null
  jitterMs: number | null
}

/** A schedule that has something to fire or to plan: `slot` is its next_run_at, to the microsecond. */
export interface Waiting extends SlotRules {
  slot: string
  /** The slot no longer is what the expression says. */
  replan: boolean
}

export interface Plan {
  /** The slot to fire; null: none, the schedule only moves on. */
  slot: string | null
  next: string
  /** When its run is due: the slot, and a random part of the jitter. */
  dueAt: string | null
}

/** A slot older than this is not fired. The default, last, makes one run of however many were missed, as Reproq's beat does. */
const WINDOW_MS = { skip: 60_000, last: Number.POSITIVE_INFINITY, all: 86_400_000 } as const

/** Which slot to fire now, and which comes after. With `all`, one after the other: the next may be due as well. Throws INVALID_CRON, INVALID_SCHEDULE. */
export function plan(schedule: Waiting, nowMs: number): Plan {
  const table = timetable(schedule.cron, schedule.timeZone)
  const firstMs = Date.parse(schedule.slot)
  if (schedule.replan || Number.isNaN(firstMs)) return { slot: null, next: iso(table.next(Math.floor(nowMs / 1_000) * 1_000)), dueAt: null }

  const missed = schedule.missed ?? 'last'
  const oldestMs = nowMs - (schedule.missedWindowMs ?? WINDOW_MS[missed])
  // Of all, the oldest that still counts; else the latest.
  const slotMs = missed !== 'all' ? (table.last(firstMs, nowMs) ?? firstMs) : firstMs < oldestMs ? (table.last(firstMs, oldestMs) ?? firstMs) : firstMs
  const next = iso(table.next(slotMs))
  if (slotMs < oldestMs) return { slot: null, next, dueAt: null }
  const slot = slotMs === firstMs ? schedule.slot : iso(slotMs)
  return { slot, next, dueAt: schedule.jitterMs ? iso(slotMs + Math.floor(Math.random() * schedule.jitterMs)) : slot }
}

/** Throws INVALID_SCHEDULE for what no date of four digits says. */
function iso(ms: number): string {
  if (!(ms <= LAST_MS)) throw new BrokerError('INVALID_SCHEDULE', 'The schedule has an instant beyond the year 9999')
  return new Date(ms).toISOString()
}
