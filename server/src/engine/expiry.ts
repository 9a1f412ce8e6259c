import type { Config } from '../config.js'
import type { Pool } from '../db/pool.js'
import type { Events } from '../events.js'
import { expire, type Expired } from '../runs/expire.js'
import { settled } from '../runs/find.js'
import { nextExpiry, reap, reclaim, type Reaped } from '../sessions/sessions.js'
import type { Left } from './due.js'

export interface ExpiryContext {
  pool: Pool
  config: Config
  events: Events
}

/** Ends runs that came too late, and says when the next one will. */
export async function endExpiredRuns({ pool, events }: Pick<ExpiryContext, 'pool' | 'events'>): Promise<Left> {
  const { runs, more, nextMs } = await expire(pool)
  for (const expired of runs) tell(events, expired)
  if (runs.some(({ keyed }) => keyed)) events.emit('keys.freed', {})
  return { more, nextMs }
}

/** Tells of a run that somebody's enqueue of an equal one has ended, because it had expired. */
export async function announceExpired({ pool, events }: Pick<ExpiryContext, 'pool' | 'events'>, run: string): Promise<void> {
  for (const ended of await settled(pool, [run])) if (ended.status === 'CANCELLED') tell(events, { ...ended, run })
}

function tell(events: Events, { run, queue, task, attempt }: Pick<Expired, 'run' | 'queue' | 'task' | 'attempt'>): void {
  events.emit('run.settled', { runId: run, queue, task, status: 'CANCELLED', attempt, workerId: undefined, cause: 'expired', delayMs: 0, wallMs: undefined })
}

/**
 * Ends expired sessions, and says when the next may expire. Amnesty: an expiry counts only if the worker could have renewed in
 * time, so a broker reaps only after it has itself reached the database without a break for as long as a worker may take to come back.
 */
export async function endExpiredSessions(context: ExpiryContext): Promise<Left> {
  const { pool, config } = context
  // Of a database that is away nothing is known, and others will notice when it is back.
  let nextMs = pool.healthyMs > 0 ? await nextExpiry(pool) : 0
  if (isOver(nextMs) && pool.healthyMs >= config.reconnectMs) {
    await reapAll(context)
    nextMs = await nextExpiry(pool)
  }
  // What is still there another broker is ending, or it falls under the amnesty: no reason to ask without a pause.
  return { more: false, nextMs: isOver(nextMs) ? config.reapMs : nextMs }
}

const isOver = (nextMs: number | null) => nextMs !== null && nextMs <= 0

/** A Go worker says this often that it lives. */
const GO_HEARTBEAT_MS = 60_000

/**
 * Takes back what workers that are none of ours (the Go worker) left RUNNING. Returns how many runs that were. The same amnesty, until
 * all that live have said so: an outage may have been longer than their leases.
 */
export async function reclaimAll({ pool, events, config }: ExpiryContext): Promise<number> {
  if (pool.healthyMs < config.reconnectMs + GO_HEARTBEAT_MS) return 0
  let count = 0
  for (let rows = await reclaim(pool); rows.length > 0; rows = await reclaim(pool)) {
    tellLost(events, rows)
    count += rows.length
  }
  return count
}

async function reapAll({ pool, events, config }: ExpiryContext): Promise<void> {
  const rows = await reap(pool, config.quarantineCrashes)
  tellLost(events, rows)
  const lost = new Map(rows.flatMap(({ sessionId, workerId }) => (sessionId && workerId ? [[sessionId, workerId] as const] : [])))
  for (const [sessionId, workerId] of lost) events.emit('session.lost', { sessionId, workerId })
}

function tellLost(events: Events, rows: readonly Reaped[]): void {
  for (const { workerId, run, status, queue, task, attempt } of rows) {
    if (run === null || status === null || queue === null) continue
    events.emit('run.settled', { runId: run, queue, task: task ?? '', status, attempt: attempt ?? 0, workerId: workerId ?? undefined, cause: 'lease_expiry', delayMs: 0, wallMs: undefined })
  }
  if (rows.some(({ keyed }) => keyed)) events.emit('keys.freed', {})
}
