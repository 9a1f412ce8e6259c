import Type, { type Static } from 'typebox'
import { Status } from './rest.js'

/** Bodies of the REST interface for many runs at once, for queues and for workers. */

const Nullable = <T extends import('typebox').TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const Instant = Type.String({ format: 'date-time' })
/** Postgres has no text with a NUL in it. */
const StorableText = Type.String({ minLength: 1, maxLength: 1_024, pattern: '^[^\\u0000]*$' })
const RunId = Type.String({ pattern: '^[0-9]{1,18}$' })

/** Which runs are meant, beside their status. */
export const runFilter = {
  queue: Type.Optional(StorableText),
  task: Type.Optional(StorableText),
  enqueued_before: Type.Optional(Instant),
  enqueued_after: Type.Optional(Instant),
  finished_before: Type.Optional(Instant),
  finished_after: Type.Optional(Instant),
  error: Type.Optional(Type.String({ minLength: 1, maxLength: 1_024, pattern: '^[^\\u0000]*$', description: 'text that last_error contains, in any case' })),
}

export const RunIds = Type.Object({ ids: Type.Array(RunId, { minItems: 1, maxItems: 1_000 }) }, { additionalProperties: false, title: 'RunIds' })
export type RunIds = Static<typeof RunIds>

export const ReplayRequest = Type.Object(
  { ids: Type.Optional(RunIds.properties.ids), spec_hash: Type.Optional(Type.String({ pattern: '^[^\\u0000]{1,64}$', description: 'the newest run with this hash; excludes ids' })) },
  { additionalProperties: false, title: 'ReplayRequest' },
)
export type ReplayRequest = Static<typeof ReplayRequest>

export const RunOutcome = Type.Object(
  {
    run: Type.String(),
    outcome: Type.Union([Type.Literal('retried'), Type.Literal('replayed'), Type.Literal('duplicate'), Type.Literal('already_successful'), Type.Literal('not_final'), Type.Literal('refused'), Type.Literal('not_found')]),
    other: Nullable(Type.String({ description: 'replayed: the new run; duplicate: the active run of the same hash' })),
    error: Nullable(Type.String({ description: 'refused: what the database said' })),
  },
  { title: 'RunOutcome' },
)
export type RunOutcome = Static<typeof RunOutcome>
export const RunOutcomes = Type.Object({ runs: Type.Array(RunOutcome) }, { title: 'RunOutcomes', description: 'one for each run, in the order asked' })
export type RunOutcomes = Static<typeof RunOutcomes>

export const OperationAction = Type.Union([Type.Literal('retry'), Type.Literal('cancel'), Type.Literal('replay'), Type.Literal('delete')])
export type OperationAction = Static<typeof OperationAction>

export const OperationFilter = Type.Object({ status: Type.Optional(Status), ...runFilter }, { additionalProperties: false, title: 'OperationFilter' })
export type OperationFilter = Static<typeof OperationFilter>

export const OperationRequest = Type.Object(
  {
    action: OperationAction,
    filter: OperationFilter,
    dry_run: Type.Optional(Type.Boolean({ default: false, description: 'only count' })),
  },
  { additionalProperties: false, title: 'OperationRequest' },
)
export type OperationRequest = Static<typeof OperationRequest>

export const OperationCount = Type.Object(
  { matched: Type.Integer(), complete: Type.Boolean({ description: 'false: only the newest 200,000 runs were looked at' }) },
  { title: 'OperationCount' },
)
export type OperationCount = Static<typeof OperationCount>

export const Operation = Type.Object(
  {
    id: Type.String(),
    action: OperationAction,
    filter: Type.Object({ statuses: Type.Array(Status), ...runFilter }),
    status: Type.Union([Type.Literal('RUNNING'), Type.Literal('DONE'), Type.Literal('STOPPED'), Type.Literal('FAILED')]),
    error: Nullable(Type.String({ description: 'why it FAILED' })),
    progress: Type.Number({ description: 'how much of the table it has been through, 0 to 1' }),
    matched: Type.Integer({ description: 'runs that the filter meant so far' }),
    changed: Type.Integer({ description: 'of those, runs that it changed' }),
    unchanged: Type.Array(Type.Object({ run: Type.String(), outcome: Type.String(), other: Nullable(Type.String()), error: Nullable(Type.String()) }), { description: 'retry, replay, cancel: the first hundred that it could not change' }),
    requested_by: Nullable(Type.String({ description: 'name of the token' })),
    created_at: Instant,
    updated_at: Instant,
    finished_at: Nullable(Instant),
  },
  { title: 'Operation' },
)
export type Operation = Static<typeof Operation>
export const OperationList = Type.Object({ operations: Type.Array(Operation), next_cursor: Nullable(Type.String()) }, { title: 'OperationList' })
export type OperationList = Static<typeof OperationList>

export const QueueState = Type.Object(
  {
    name: Type.String(),
    ready: Type.Integer({ description: 'counted to 10,000' }),
    blocked: Type.Integer({ description: 'wait for a key or a rate; counted to 10,000' }),
    scheduled: Type.Integer({ description: 'of the next 10,000 of all queues' }),
    running: Type.Integer({ description: 'of 10,000 leases of all queues' }),
    oldest_ready_at: Nullable(Type.String({ format: 'date-time', description: 'of the first hundred in line, when the oldest was enqueued' })),
    workers: Type.Integer({ description: 'connected workers that serve it' }),
    paused: Type.Boolean(),
    paused_at: Nullable(Instant),
    held_until: Nullable(Type.String({ format: 'date-time', description: 'a task asked that nothing of it is started before' })),
    reason: Nullable(Type.String()),
  },
  { title: 'QueueState' },
)
export type QueueState = Static<typeof QueueState>
export const QueueList = Type.Object({ queues: Type.Array(QueueState) }, { title: 'QueueList' })
export type QueueList = Static<typeof QueueList>

export const TaskState = Type.Object(
  {
    name: Type.String(),
    runs: Type.Integer({ description: 'how many of the newest 10,000 runs are of it; so are the other counts' }),
    ready: Type.Integer({ description: 'scheduled and blocked ones, too' }),
    running: Type.Integer(),
    successful: Type.Integer(),
    failed: Type.Integer(),
    queues: Type.Array(Type.String()),
    last_enqueued_at: Instant,
  },
  { title: 'TaskState' },
)
export type TaskState = Static<typeof TaskState>
export const TaskList = Type.Object({ tasks: Type.Array(TaskState) }, { title: 'TaskList' })
export type TaskList = Static<typeof TaskList>

export const PauseRequest = Type.Object({ reason: Type.Optional(StorableText) }, { additionalProperties: false, title: 'PauseRequest' })
export type PauseRequest = Static<typeof PauseRequest>
export const QueueControl = Type.Object({ name: Type.String(), paused: Type.Boolean(), paused_at: Nullable(Instant), reason: Nullable(Type.String()) }, { title: 'QueueControl' })
export type QueueControl = Static<typeof QueueControl>

export const WorkerState = Type.Object(
  {
    name: Type.String({ description: 'reproq_workers.worker_id' }),
    hostname: Nullable(Type.String()),
    queues: Type.Array(Type.String()),
    concurrency: Nullable(Type.Integer()),
    version: Nullable(Type.String()),
    running: Type.Integer({ description: 'leases it holds' }),
    connected: Type.Boolean({ description: 'false: it has no session; a worker of another kind, or a dead one' }),
    started_at: Instant,
    last_seen_at: Instant,
    expires_at: Nullable(Type.String({ format: 'date-time', description: 'when its session ends unless it is heard of' })),
  },
  { title: 'WorkerState' },
)
export type WorkerState = Static<typeof WorkerState>
export const WorkerList = Type.Object({ workers: Type.Array(WorkerState) }, { title: 'WorkerList' })
export type WorkerList = Static<typeof WorkerList>

export const RetireResult = Type.Object({ name: Type.String(), told: Type.Boolean({ description: 'its broker was told; the worker leaves on its own' }) }, { title: 'RetireResult' })
export type RetireResult = Static<typeof RetireResult>
