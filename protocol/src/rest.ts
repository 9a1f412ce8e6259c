import Type, { type Static } from 'typebox'
import { LOG_STREAMS } from './codes.js'
import { ProvenResult } from './frames.js'

/** Bodies of the REST interface under `/v1`. The OpenAPI document and the SDK's types come from these. */

const FINAL_STATUSES: readonly string[] = ['SUCCESSFUL', 'FAILED', 'CANCELLED']
export const Status = Type.Union([
  Type.Literal('WAITING'),
  Type.Literal('READY'),
  Type.Literal('RUNNING'),
  Type.Literal('SUCCESSFUL'),
  Type.Literal('FAILED'),
  Type.Literal('CANCELLED'),
])
export type Status = Static<typeof Status>

/** Whether a run in this status will never change again by itself. */
export const isFinal = (status: string): boolean => FINAL_STATUSES.includes(status)

const Nullable = <T extends import('typebox').TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const Instant = Type.String({ format: 'date-time' })

const key = (description: string) => Type.Optional(Type.String({ minLength: 1, maxLength: 255, description }))
const Wait = Type.Integer({ minimum: 0, maximum: 2_592_000_000, description: 'milliseconds, at most 30 days' })

/** When a failed attempt is followed by another. What is left out is the broker's setting; how many attempts there are is `max_attempts`. */
export const RetryPolicy = Type.Object(
  {
    base_ms: Type.Optional(Wait),
    factor: Type.Optional(Type.Number({ minimum: 1, maximum: 100, description: 'each wait is this many times the one before; 1: always base_ms. Default: 2' })),
    cap_ms: Type.Optional(Wait),
    jitter: Type.Optional(Type.Number({ minimum: 0, maximum: 1, description: 'random share by which a wait may grow' })),
    delays_ms: Type.Optional(Type.Array(Wait, { minItems: 1, maxItems: 100, description: 'the waits themselves, in place of base_ms, factor and cap_ms; the last one repeats' })),
    non_retryable: Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 255 }), { maxItems: 100, description: 'classes of errors after which no further attempt is made' })),
  },
  { additionalProperties: false, title: 'RetryPolicy' },
)
export type RetryPolicy = Static<typeof RetryPolicy>

export const Rate = Type.Object(
  {
    key: Type.String({ minLength: 1, maxLength: 251, description: 'what shares the limit: "customer:42"' }),
    limit: Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'so many starts …' }),
    per_ms: Type.Integer({ minimum: 1, maximum: 2_592_000_000, description: '… in this many milliseconds' }),
    burst: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'so many at once after a pause. Default: limit' })),
  },
  { additionalProperties: false, title: 'Rate', description: 'A limit on starts of runs with this key; the numbers of the latest enqueue hold' },
)
export type Rate = Static<typeof Rate>

/** Ask for one execution of a task. Arguments are `input` (the one argument of a TypeScript task), or `args` and `kwargs`. */
export const EnqueueRequest = Type.Object(
  {
    task: Type.String({ minLength: 1, maxLength: 512, description: 'Name of the task: "email.send", "mypkg.tasks.add"' }),
    input: Type.Optional(Type.Unknown({ description: 'The single argument of the task; the same as args: [input]' })),
    args: Type.Optional(Type.Array(Type.Unknown())),
    kwargs: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    queue: Type.Optional(Type.String({ minLength: 1, maxLength: 255, default: 'default' })),
    priority: Type.Optional(Type.Integer({ minimum: -32_768, maximum: 32_767, default: 0, description: 'Higher runs first; each step is worth a minute of waiting' })),
    delay_ms: Type.Optional(Type.Integer({ minimum: 0, maximum: 315_360_000_000, description: 'Not before this many milliseconds from now' })),
    run_after: Type.Optional(Type.String({ format: 'date-time', description: 'Not before this instant; excludes delay_ms' })),
    max_attempts: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000, default: 3 })),
    timeout_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_592_000_000, default: 900_000, description: 'Run-time limit of one attempt, kept in whole seconds (rounded up)' })),
    idempotency_key: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: 'Of all enqueues of one task with the same key, one makes a run' })),
    deduplicate: Type.Optional(Type.Boolean({ default: false, description: 'While an equal run (same task, arguments and options) waits or runs, answer with that one; excludes idempotency_key and delay_ms' })),
    lock_key: key('Of all runs with this key, one runs at a time'),
    concurrency_key: key('Of all runs with this key, concurrency_limit run at a time'),
    concurrency_limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'Goes with concurrency_key' })),
    rate: Type.Optional(Rate),
    fair_key: key('Within a queue, keys take turns: a tenant with many runs does not keep others waiting'),
    expires_at: Type.Optional(Type.String({ format: 'date-time', description: 'A run that has not started by this instant never starts; excludes expires_in_ms' })),
    expires_in_ms: Type.Optional(Type.Integer({ minimum: 1, maximum: 315_360_000_000, description: 'The same, from now' })),
    retry: Type.Optional(RetryPolicy),
  },
  { additionalProperties: false, title: 'EnqueueRequest' },
)
export type EnqueueRequest = Static<typeof EnqueueRequest>

export const Enqueued = Type.Object(
  { id: Type.String(), deduplicated: Type.Boolean({ description: 'true: a run with this idempotency key, or an equal one, existed and is meant' }) },
  { title: 'Enqueued' },
)
export type Enqueued = Static<typeof Enqueued>

export const BULK_LIMIT = 1_000
export const EnqueueManyRequest = Type.Object(
  { runs: Type.Array(EnqueueRequest, { minItems: 1, maxItems: BULK_LIMIT }) },
  { additionalProperties: false, title: 'EnqueueManyRequest' },
)
export type EnqueueManyRequest = Static<typeof EnqueueManyRequest>
export const EnqueuedMany = Type.Object({ runs: Type.Array(Enqueued) }, { title: 'EnqueuedMany' })
export type EnqueuedMany = Static<typeof EnqueuedMany>

const { idempotency_key: _key, deduplicate: _deduplicate, ...enqueueFields } = EnqueueRequest.properties

/** A run of a workflow: what an enqueue takes, a name, and which others it waits for. */
export const WorkflowNode = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 255, description: 'Its name in the workflow; children find its output by it' }),
    ...enqueueFields,
    after: Type.Optional(Type.Array(Type.String(), { maxItems: 100_000, description: 'Names of the nodes it waits for; without any it is ready at once' })),
    when: Type.Optional(
      Type.Enum(['success', 'always', 'failure'], {
        default: 'success',
        description: 'success: when all before it succeeded; it fails as soon as one did not. always: when all have ended. failure: when all have ended and one failed or was cancelled; it is cancelled when none did',
      }),
    ),
  },
  { additionalProperties: false, title: 'WorkflowNode' },
)
export type WorkflowNode = Static<typeof WorkflowNode>

export const EnqueueWorkflowRequest = Type.Object(
  {
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: 'For people' })),
    idempotency_key: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: 'Of all workflows with the same key, one is made' })),
    nodes: Type.Array(WorkflowNode, { minItems: 1, maxItems: 100_000 }),
  },
  { additionalProperties: false, title: 'EnqueueWorkflowRequest' },
)
export type EnqueueWorkflowRequest = Static<typeof EnqueueWorkflowRequest>

export const EnqueuedWorkflow = Type.Object(
  {
    id: Type.String(),
    deduplicated: Type.Boolean({ description: 'true: a workflow with this idempotency key existed and is meant' }),
    runs: Type.Record(Type.String(), Type.String(), { description: 'ids of the runs by the names of their nodes' }),
  },
  { title: 'EnqueuedWorkflow' },
)
export type EnqueuedWorkflow = Static<typeof EnqueuedWorkflow>

export const WorkflowStatus = Type.Enum(['RUNNING', 'SUCCESSFUL', 'FAILED', 'CANCELLED'], {
  description: 'RUNNING until every run has ended; then FAILED if one failed, CANCELLED if one was cancelled',
})
export type WorkflowStatus = Static<typeof WorkflowStatus>

const workflowSummary = {
  id: Type.String({ description: 'task_runs.workflow_id' }),
  name: Nullable(Type.String()),
  status: WorkflowStatus,
  created_at: Instant,
  total: Type.Integer(),
  succeeded: Type.Integer(),
  failed: Type.Integer(),
  cancelled: Type.Integer(),
  skipped: Type.Integer({ description: 'not needed, given how those before them ended' }),
}
export const WorkflowSummary = Type.Object(workflowSummary, { title: 'WorkflowSummary' })
export type WorkflowSummary = Static<typeof WorkflowSummary>

export const WorkflowRun = Type.Object(
  {
    id: Type.String({ description: 'task_runs.result_id' }),
    name: Nullable(Type.String({ description: 'null for a run that Reproq made' })),
    task: Type.String(),
    queue: Type.String(),
    status: Status,
    skipped: Type.Boolean(),
    when: Type.Enum(['success', 'always', 'failure']),
    after: Type.Array(Type.String(), { description: 'ids of the runs it waits for' }),
    attempts: Type.Integer(),
    started_at: Nullable(Instant),
    finished_at: Nullable(Instant),
    last_error: Nullable(Type.String()),
  },
  { title: 'WorkflowRun' },
)
export type WorkflowRun = Static<typeof WorkflowRun>

export const Workflow = Type.Object({ ...workflowSummary, runs: Type.Array(WorkflowRun) }, { title: 'Workflow' })
export type Workflow = Static<typeof Workflow>

export const WorkflowList = Type.Object({ workflows: Type.Array(WorkflowSummary), next_cursor: Nullable(Type.String()) }, { title: 'WorkflowList' })
export type WorkflowList = Static<typeof WorkflowList>

export const CancelWorkflowResult = Type.Object(
  {
    cancelled: Type.Integer({ description: 'runs that will not start' }),
    cancelling: Type.Integer({ description: 'runs that were running; their workers were told' }),
  },
  { title: 'CancelWorkflowResult' },
)
export type CancelWorkflowResult = Static<typeof CancelWorkflowResult>

export const RunFailure = Type.Object(
  {
    kind: Type.String({ description: 'app_error, timeout, crashed, cancelled, expired, lease_expiry, invalid_output, security_violation, …' }),
    class: Type.String(),
    message: Type.String(),
    traceback: Nullable(Type.String()),
    attempt: Nullable(Type.Integer()),
    at: Nullable(Type.String()),
  },
  { title: 'RunFailure' },
)
export type RunFailure = Static<typeof RunFailure>

/** A run as lists show it: everything but payloads. */
const summary = {
  id: Type.String({ description: 'task_runs.result_id' }),
  task: Type.String(),
  queue: Type.String(),
  priority: Type.Integer(),
  status: Status,
  attempts: Type.Integer(),
  max_attempts: Type.Integer(),
  timeout_ms: Type.Integer(),
  enqueued_at: Instant,
  run_after: Nullable(Instant),
  started_at: Nullable(Instant),
  finished_at: Nullable(Instant),
  cancel_requested: Type.Boolean(),
  leased_by: Nullable(Type.String()),
  last_error: Nullable(Type.String()),
}
export const RunSummary = Type.Object(summary, { title: 'RunSummary' })
export type RunSummary = Static<typeof RunSummary>

export const RunProgress = Type.Object(
  {
    attempt: Type.Integer(),
    pct: Nullable(Type.Number({ minimum: 0, maximum: 100 })),
    note: Nullable(Type.String()),
    data: Type.Unknown({ description: 'any JSON, exactly as the code wrote it' }),
    at: Instant,
  },
  { title: 'RunProgress', description: 'What the code of a run last said about how far it is' },
)
export type RunProgress = Static<typeof RunProgress>

export const Run = Type.Object(
  {
    ...summary,
    args: Type.Unknown({ description: 'positional arguments, exactly as stored' }),
    kwargs: Type.Unknown({ description: 'keyword arguments, exactly as stored' }),
    output: Type.Unknown({ description: 'what the task returned, exactly as stored; null until SUCCESSFUL' }),
    errors: Type.Array(RunFailure, { description: 'one entry per failed attempt, oldest first' }),
    worker_ids: Type.Array(Type.String(), { description: 'who held it, one entry per attempt' }),
    lock_key: Nullable(Type.String()),
    concurrency_key: Nullable(Type.String()),
    concurrency_limit: Nullable(Type.Integer()),
    rate_key: Nullable(Type.String()),
    fair_key: Nullable(Type.String()),
    expires_at: Nullable(Instant),
    retry: Nullable(RetryPolicy),
    blocked_by: Type.Union([Type.String(), Type.Null()], { description: 'what it waits for although it is due: lock:<key>, concurrency:<key>, or rate:<key of a limit>' }),
    waits_for: Type.Union([Type.String(), Type.Null()], { description: 'why it does not start although it is READY, in words: its time, its queue (paused, held), what blocked_by says, or that no connected worker serves its queue' }),
    workflow_id: Nullable(Type.String()),
    node: Type.Union([Type.String(), Type.Null()], { description: 'its name in the workflow' }),
    progress: Type.Optional(RunProgress),
  },
  { title: 'Run' },
)
export type Run = Static<typeof Run>

export const RunList = Type.Object({ runs: Type.Array(RunSummary), next_cursor: Nullable(Type.String()) }, { title: 'RunList' })
export type RunList = Static<typeof RunList>

/** A piece of what an attempt printed. */
export const LogEntry = Type.Object(
  {
    id: Type.String({ description: 'orders the entries of a run' }),
    attempt: Type.Integer(),
    stream: Type.Enum([...LOG_STREAMS]),
    seq: Type.Integer({ description: 'counts the pieces of an attempt; a gap is a piece that was lost' }),
    dropped: Type.Integer({ description: 'bytes that are missing before this piece' }),
    at: Instant,
    text: Type.String(),
  },
  { title: 'LogEntry' },
)
export type LogEntry = Static<typeof LogEntry>

export const LogPage = Type.Object({ entries: Type.Array(LogEntry), next_cursor: Nullable(Type.String()) }, { title: 'LogPage' })
export type LogPage = Static<typeof LogPage>

export const CancelResult = Type.Object(
  {
    status: Type.Union([Type.Literal('cancelled'), Type.Literal('cancelling'), Type.Literal('already_final')]),
    run: Type.Object({ id: Type.String(), status: Status }),
  },
  { title: 'CancelResult', description: 'cancelling: it is running; the worker was told and its answer decides' },
)
export type CancelResult = Static<typeof CancelResult>

export const ResultsRequest = Type.Object({ items: Type.Array(ProvenResult, { minItems: 1, maxItems: 1_000 }) }, { title: 'ResultsRequest' })
export type ResultsRequest = Static<typeof ResultsRequest>
export const ResultsResponse = Type.Object(
  {
    items: Type.Array(
      Type.Object({
        run: Type.String(),
        disp: Type.Union([
          Type.Literal('finalized'),
          Type.Literal('retry_scheduled'),
          Type.Literal('duplicate'),
          Type.Literal('stale_lease'),
          Type.Literal('already_final'),
        ]),
      }),
    ),
  },
  { title: 'ResultsResponse' },
)

/** RFC 9457, with our stable `code` and the line that fixes it. */
export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    code: Type.String(),
    hint: Type.Optional(Type.String()),
  },
  { title: 'Problem' },
)
export type Problem = Static<typeof Problem>
