import { statement } from '../db/statement.js'
import { promote } from '../runs/promote.js'
import { unblock } from '../runs/unblock.js'
import { advance } from '../workflows/advance.js'
import { Due, type Left } from './due.js'
import { endExpiredRuns, endExpiredSessions, type ExpiryContext } from './expiry.js'
import { continueOperations } from './operations.js'

/** Most notes of one step. */
const NOTES = 1_000
/** Wait before notes about rows that somebody held are read again. */
const HELD_MS = 500

export interface DuesContext extends ExpiryContext {
  /** A queue has got ready runs. */
  onReady(queue: string): void
  /** Makes the handler of an error, which says what could not be done. */
  failed(message: string): (error: unknown) => void
  /** Aborts when the broker stops. */
  stopping: AbortSignal
}

/** The kinds of work that become due by the database's clock. */
export interface Dues {
  /** Scheduled → ready, and queues that were held are let go. */
  scheduled: Due
  /** Runs end that came too late. */
  expiring: Due
  /** Blocked → ready. */
  blocked: Due
  /** Runs of workflows move when those they wait for have ended. */
  workflows: Due
  /** Sessions end that have expired. */
  sessions: Due
  /** What was asked for many runs goes on. */
  operations: Due
}

export function duesOf(context: DuesContext): Dues {
  const { pool, failed } = context
  return {
    scheduled: new Due(() => ready(context, promote(pool)), failed('scheduled runs could not be promoted; it will be tried again')),
    expiring: new Due(() => endExpiredRuns(context), failed('expired runs could not be ended; it will be tried again')),
    blocked: new Due(() => ready(context, unblock(pool)), failed('blocked runs could not be let through; it will be tried again')),
    workflows: new Due(() => advanceWorkflows(context), failed('workflows could not be advanced; it will be tried again'), { againMs: HELD_MS }),
    sessions: new Due(() => endExpiredSessions(context), failed('expired sessions could not be ended; it will be tried again')),
    operations: new Due(() => continueOperations(context), failed('an operation could not go on; it will be tried again')),
  }
}

type Moment = { [Kind in keyof Dues]: number | null }
const lookSql = statement<[], Moment>(import.meta.url, 'look.sql')

/** Asks once what there is to do, and when, for all kinds of work. */
export async function lookAround(pool: ExpiryContext['pool'], dues: Dues): Promise<void> {
  const [found] = await pool.query(lookSql, [])
  if (!found) throw new Error('look.sql returned no row')
  for (const [kind, ms] of Object.entries(found) as [keyof Dues, number | null][]) if (ms !== null) dues[kind].expect(ms)
}

async function ready({ onReady }: DuesContext, moving: Promise<Left & { queues: string[] }>): Promise<Left> {
  const { queues, more, nextMs } = await moving
  for (const queue of queues) onReady(queue)
  return { more, nextMs }
}

/** A transaction that ends a run of a workflow leaves a note and a notification. Every broker hears and tries, one at a time does it. */
async function advanceWorkflows({ pool, events }: DuesContext): Promise<Left> {
  const { taken, postponed, runs } = await advance(pool, NOTES)
  for (const { run, queue, task, status } of runs) {
    events.emit('run.settled', { runId: run, queue, task, status, attempt: 0, workerId: undefined, cause: 'workflow', delayMs: 0, wallMs: undefined })
  }
  // What was moved may move others.
  return { more: taken > 0, nextMs: postponed > 0 ? HELD_MS : null }
}
