import type { RetryPolicy, ScheduleSummary } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { preview } from '../schedules/cron.js'
import { callOf } from '../schedules/periodic-spec.js'
import type { Firing, Schedule } from '../schedules/schedules.js'

/** A schedule as lists show it: everything but its arguments. */
export function summaryOf(row: Schedule): ScheduleSummary {
  return {
    name: row.name,
    cron: row.cron,
    time_zone: row.timeZone ?? 'UTC',
    task: row.task,
    queue: row.queue || 'default',
    priority: row.priority,
    max_attempts: row.maxAttempts > 0 ? row.maxAttempts : 3,
    timeout_ms: row.timeoutMs ?? 900_000,
    retry: row.retry === null ? null : (JSON.parse(row.retry) as RetryPolicy),
    lock_key: row.lockKey,
    concurrency_key: row.concurrencyKey,
    concurrency_limit: row.concurrencyKey === null ? null : row.concurrencyLimit,
    fair_key: row.fairKey,
    expires_in_ms: row.expiresInMs,
    missed: row.missed ?? 'last',
    missed_window_ms: row.missedWindowMs,
    overlap: row.overlap ?? 'allow',
    jitter_ms: row.jitterMs ?? 0,
    enabled: row.enabled,
    source: row.source ?? 'sql',
    app: row.app,
    next_run_at: row.enabled ? instant(row.nextRunAt) : null,
    last_run_at: instant(row.lastRunAt),
    skipped: row.skipped,
    error: row.error,
    error_at: instant(row.errorAt),
    updated_at: instant(row.updatedAt),
  }
}

/** The body of GET /v1/schedules/:name, as JSON text: arguments keep every digit. */
export function scheduleJson(row: Schedule, firings: Firing[], count: number): string {
  const { args, kwargs } = argumentsOf(row)
  const runs = firings.map(({ run, slot, firedBy, status, finishedAt }) => ({ id: run, slot: instant(slot), fired_by: firedBy, status, finished_at: instant(finishedAt) }))
  return `${JSON.stringify({ ...summaryOf(row), next: nextOf(row, count), runs }).slice(0, -1)},"args":${args},"kwargs":${kwargs}}`
}

/** A payload that is no arguments is shown as it is: it is what has to be corrected. */
function argumentsOf({ payload, name }: Schedule) {
  try {
    return callOf(payload, name)
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error
    return { args: payload, kwargs: 'null' }
  }
}

/** What is waited for, then what the expression says. */
function nextOf({ cron, timeZone, enabled, error, nextRunAt, nowMs }: Schedule, count: number): string[] {
  if (!enabled || error !== null || count === 0) return []
  const first = nextRunAt instanceof Date && nextRunAt.getTime() > nowMs ? nextRunAt.getTime() : undefined
  try {
    const rest = preview(cron, timeZone, first === undefined ? count : count - 1, first ?? Math.floor(nowMs / 1_000) * 1_000)
    return [...(first === undefined ? [] : [first]), ...rest].map((ms) => new Date(ms).toISOString())
  } catch (fault) {
    if (fault instanceof BrokerError) return []
    throw fault
  }
}

/** Null also for what Postgres has and JavaScript has not: infinity, and years beyond 275,760. */
function instant(at: Date | number | null): string | null {
  return at instanceof Date && !Number.isNaN(at.getTime()) ? at.toISOString() : null
}
