import type { MissedPolicy, NamedSchedule, OverlapPolicy } from '../../protocol/src/schedules.js'
import { durationMs, type Duration } from './duration.js'
import { enqueueRequest, type EnqueueOptions } from './enqueue-request.js'
import { InvalidOption } from './errors.js'
import type { InputOf, TaskReference } from './task-reference.js'

type Options = Pick<EnqueueOptions, 'queue' | 'priority' | 'maxAttempts' | 'timeout' | 'retry' | 'lockKey' | 'concurrency' | 'fairKey' | 'expiresIn'>

/** What `defineSchedule` takes: when, and which run. Options of the run come from the task where they are left out here. */
export type ScheduleDefinition<T extends TaskReference> = Options & {
  /** Stable and unique in the database. */
  name: string
  /** Five fields, six with seconds in front, "@hourly" … "@yearly", or "@every 5m". */
  cron: string
  /** IANA name. Default: UTC. */
  timeZone?: string
  task: T | string
  /** What becomes of slots that nobody fired in time: no run, one for the last, one for each. Default: last. */
  missed?: MissedPolicy
  /** Slots older than this make no run. Default: a minute for skip, a day for all, no limit for last. */
  missedWindow?: Duration
  /** While a run of the schedule is active: another one, none, or one that waits for it. Default: allow. */
  overlap?: OverlapPolicy
  /** Each run is due at a random moment up to this long after its slot. */
  jitter?: Duration
  /** Whether it fires. Left out, it stays as somebody has set it; a new one does. */
  enabled?: boolean
} & (undefined extends InputOf<T> ? { input?: InputOf<T> } : { input: InputOf<T> })

/** A schedule of this process, to be given to `reproq.schedules.sync`. */
export interface ScheduledTask {
  readonly '~reproq': 'schedule'
  readonly name: string
  /** The schedule in the names and units of the wire. Throws InvalidInput, InvalidOption and InvalidDuration. */
  toRequest(): Promise<NamedSchedule>
}

/** Defines when a task runs by itself. Nothing is sent: see `reproq.schedules.sync`. */
export function defineSchedule<T extends TaskReference>(definition: ScheduleDefinition<T>): ScheduledTask {
  const { name, cron, timeZone, task, input, missed, missedWindow, overlap, jitter, enabled, ...options } = definition
  if (typeof name !== 'string' || name === '' || name.length > 255) throw new InvalidOption(`A schedule's name is text of 1 to 255 characters, not ${JSON.stringify(name)}`, 'name it like "nightly-report"')
  return {
    '~reproq': 'schedule',
    name,
    async toRequest() {
      const { rate, ...run } = await enqueueRequest(task, input, options)
      if (rate !== undefined) throw new InvalidOption(`The schedule "${name}": a rate limit by key is not kept for runs of schedules`, 'limit the task or its queue instead, or enqueue from a task that the schedule runs')
      return {
        ...run,
        name,
        cron,
        ...(timeZone !== undefined && { time_zone: timeZone }),
        ...(missed !== undefined && { missed }),
        ...(missedWindow !== undefined && { missed_window_ms: durationMs(missedWindow) }),
        ...(overlap !== undefined && { overlap }),
        ...(jitter !== undefined && { jitter_ms: durationMs(jitter) }),
        ...(enabled !== undefined && { enabled }),
      }
    },
  }
}

/** Whether a value is a schedule, whichever copy of this package defined it. */
export function isSchedule(value: unknown): value is ScheduledTask {
  return typeof value === 'object' && value !== null && '~reproq' in value && value['~reproq'] === 'schedule'
}
