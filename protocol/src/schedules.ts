import Type, { type Static } from 'typebox'
import { RetryPolicy } from './rest.js'

/** Bodies of `/v1/schedules`. */

const Nullable = <T extends import('typebox').TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const Instant = Type.String({ format: 'date-time' })
const LONGEST_MS = 315_360_000_000
const Milliseconds = (description: string) => Type.Integer({ minimum: 0, maximum: LONGEST_MS, description })
const Name = Type.String({ minLength: 1, maxLength: 255, pattern: '^[^\\u0000]*$' })

export const MissedPolicy = Type.Enum(['skip', 'last', 'all'])
export type MissedPolicy = Static<typeof MissedPolicy>
export const OverlapPolicy = Type.Enum(['allow', 'skip', 'queue_one'])
export type OverlapPolicy = Static<typeof OverlapPolicy>

const request = {
  cron: Type.String({ minLength: 1, maxLength: 512, description: 'Five fields (minute hour day-of-month month day-of-week), six with seconds in front, @hourly … @yearly, or "@every 5m"' }),
  time_zone: Type.Optional(Type.String({ minLength: 1, maxLength: 64, default: 'UTC', description: 'IANA name: "Europe/Berlin"' })),
  task: Type.String({ minLength: 1, maxLength: 512 }),
  input: Type.Optional(Type.Unknown({ description: 'The single argument of the task; the same as args: [input]' })),
  args: Type.Optional(Type.Array(Type.Unknown())),
  kwargs: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  queue: Type.Optional(Type.String({ minLength: 1, maxLength: 255, default: 'default' })),
  priority: Type.Optional(Type.Integer({ minimum: -32_768, maximum: 32_767, default: 0 })),
  max_attempts: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000, default: 3 })),
  timeout_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_592_000_000, default: 900_000 })),
  retry: Type.Optional(RetryPolicy),
  lock_key: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
  concurrency_key: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
  concurrency_limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'Goes with concurrency_key' })),
  fair_key: Type.Optional(Type.String({ minLength: 1, maxLength: 255 })),
  expires_in_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: LONGEST_MS, description: 'A run that has not started this long after it was due never starts' })),
  missed: Type.Optional(Type.Enum(['skip', 'last', 'all'], { default: 'last', description: 'What becomes of slots that nobody fired in time: no run, one for the last of them, one for each' })),
  missed_window_ms: Type.Optional(Type.Integer({ minimum: 1_000, maximum: LONGEST_MS, description: 'Slots older than this make no run. Default: a minute for skip, a day for all, no limit for last' })),
  overlap: Type.Optional(Type.Enum(['allow', 'skip', 'queue_one'], { default: 'allow', description: 'While a run of the schedule is active: another one, none, or one that waits for it' })),
  jitter_ms: Type.Optional(Milliseconds('Each run is due at a random moment up to this long after its slot')),
  enabled: Type.Optional(Type.Boolean({ description: 'Default: as it is; a new one is on' })),
}

export const ScheduleRequest = Type.Object(request, { additionalProperties: false, title: 'ScheduleRequest' })
export type ScheduleRequest = Static<typeof ScheduleRequest>

export const SYNC_LIMIT = 1_000
export const NamedSchedule = Type.Object({ name: Name, ...request }, { additionalProperties: false, title: 'NamedSchedule' })
export type NamedSchedule = Static<typeof NamedSchedule>
export const SyncSchedulesRequest = Type.Object(
  {
    app: Type.Optional(Type.String({ minLength: 1, maxLength: 255, default: 'default', description: 'Which program defines them: only its own schedules are removed when they are gone' })),
    schedules: Type.Array(NamedSchedule, { maxItems: SYNC_LIMIT }),
  },
  { additionalProperties: false, title: 'SyncSchedulesRequest' },
)
export type SyncSchedulesRequest = Static<typeof SyncSchedulesRequest>
export const SyncedSchedules = Type.Object(
  { schedules: Type.Array(Type.Object({ name: Type.String(), outcome: Type.Enum(['created', 'updated', 'unchanged', 'removed']) })) },
  { title: 'SyncedSchedules' },
)
export type SyncedSchedules = Static<typeof SyncedSchedules>

const summary = {
  name: Type.String(),
  cron: Type.String(),
  time_zone: Type.String({ description: 'UTC unless said; a TZ= in front of the expression wins' }),
  task: Type.String(),
  queue: Type.String(),
  priority: Type.Integer(),
  max_attempts: Type.Integer(),
  timeout_ms: Type.Integer(),
  retry: Nullable(RetryPolicy),
  lock_key: Nullable(Type.String()),
  concurrency_key: Nullable(Type.String()),
  concurrency_limit: Nullable(Type.Integer()),
  fair_key: Nullable(Type.String()),
  expires_in_ms: Nullable(Type.Integer()),
  missed: MissedPolicy,
  missed_window_ms: Nullable(Type.Integer()),
  overlap: OverlapPolicy,
  jitter_ms: Type.Integer(),
  enabled: Type.Boolean(),
  source: Type.Enum(['code', 'rest', 'sql', 'django'], { description: 'Who keeps it; a code-defined one is put back at the next deploy' }),
  app: Nullable(Type.String()),
  next_run_at: Nullable(Instant),
  last_run_at: Nullable(Instant),
  skipped: Type.Integer({ description: 'slots that made no run, because one was still active' }),
  error: Nullable(Type.String({ description: 'why it cannot be fired; it is left alone until it is changed' })),
  error_at: Nullable(Instant),
  updated_at: Nullable(Instant),
}
export const ScheduleSummary = Type.Object(summary, { title: 'ScheduleSummary' })
export type ScheduleSummary = Static<typeof ScheduleSummary>

export const Schedule = Type.Object(
  {
    ...summary,
    args: Type.Unknown({ description: 'exactly as stored' }),
    kwargs: Type.Unknown({ description: 'exactly as stored' }),
    next: Type.Array(Instant, { description: 'what the expression says; empty while it is paused or cannot be fired' }),
    runs: Type.Array(
      Type.Object({
        id: Type.String(),
        slot: Instant,
        fired_by: Type.String({ description: 'broker, pg_cron or manual' }),
        status: Nullable(Type.String({ description: 'null: the run has been pruned' })),
        finished_at: Nullable(Instant),
      }),
      { description: 'the latest, newest first' },
    ),
  },
  { title: 'Schedule' },
)
export type Schedule = Static<typeof Schedule>

export const SchedulerInfo = Type.Object(
  {
    mode: Type.Enum(['broker', 'pg_cron', 'off'], { description: 'who fires schedules in this database' }),
    leader: Nullable(Type.String({ description: 'the broker that does, while brokers do' })),
    leader_since: Nullable(Instant),
    here: Type.Boolean({ description: 'whether it is the broker that answers' }),
  },
  { title: 'SchedulerInfo' },
)
export type SchedulerInfo = Static<typeof SchedulerInfo>
export const ScheduleList = Type.Object({ schedules: Type.Array(ScheduleSummary), next_cursor: Nullable(Type.String()), scheduler: SchedulerInfo }, { title: 'ScheduleList' })
export type ScheduleList = Static<typeof ScheduleList>

export const PREVIEW_LIMIT = 100
export const PreviewRequest = Type.Object(
  {
    cron: Type.String({ minLength: 1, maxLength: 512 }),
    time_zone: Type.Optional(Type.String({ minLength: 1, maxLength: 64, default: 'UTC' })),
    after: Type.Optional(Instant),
    count: Type.Optional(Type.Integer({ minimum: 1, maximum: PREVIEW_LIMIT, default: 5 })),
  },
  { additionalProperties: false, title: 'PreviewRequest' },
)
export type PreviewRequest = Static<typeof PreviewRequest>
export const Preview = Type.Object({ next: Type.Array(Instant) }, { title: 'Preview' })
export type Preview = Static<typeof Preview>
