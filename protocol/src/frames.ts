import Type, { type Static, type TProperties } from 'typebox'
import { ERROR_CODES, EXTEND_CODES, LOG_STREAMS, LOG_TEXT, REFUSAL_CODES, RELEASE_REASONS } from './codes.js'

/**
 * One schema per frame of the worker protocol; the types follow from them. PROTOCOL.md says what each means.
 * Unknown fields are legal everywhere: an older peer ignores what a newer one adds (RQ-FRAME-003).
 */
const literals = <const Values extends string[]>(values: readonly [...Values]) => Type.Enum(values)
const frame = <const Name extends string, const Fields extends TProperties>(t: Name, fields: Fields) =>
  Type.Object({ t: Type.Literal(t), ...fields }, { title: t })

const Ms = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'milliseconds' })
const Name = Type.String({ minLength: 1, maxLength: 255 })
const Text = Type.String({ maxLength: 65_536 })
const RunId = Type.String({ pattern: '^[0-9]{1,18}$', description: 'task_runs.result_id as text: it may exceed 2^53' })
const LeaseId = Type.String({ pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' })
const Handle = Type.Integer({ minimum: 1, description: 'short name of a lease on this connection' })
const Handles = Type.Array(Handle, { maxItems: 10_000 })
const JsonText = Type.String({ description: 'a JSON document as text: it passes through unparsed, so every digit survives' })

/** A lane: a set of queues that share one window, the number of leases it may hold at once. */
export const Subscription = Type.Object({
  queues: Type.Array(Name, { minItems: 1, maxItems: 256 }),
  window: Type.Integer({ minimum: 0, maximum: 10_000 }),
})
export type Subscription = Static<typeof Subscription>

export const HeldLease = Type.Object({ run: RunId, lease: LeaseId, state: literals(['running', 'done']) })
export type HeldLease = Static<typeof HeldLease>

/** What went wrong, in the words of the language it happened in. */
export const RunError = Type.Object({
  class: Type.String({ maxLength: 255 }),
  message: Text,
  traceback: Type.Optional(Type.String({ maxLength: 262_144 })),
})
export type RunError = Static<typeof RunError>

export const OUTCOMES = ['ok', 'error', 'cancelled', 'timeout', 'crashed', 'rejected', 'postponed'] as const
export const Outcome = literals(OUTCOMES)
export type Outcome = Static<typeof Outcome>

const settlement = {
  outcome: Outcome,
  output: Type.Optional(JsonText),
  error: Type.Optional(RunError),
  retryable: Type.Optional(Type.Boolean()),
  retry_after_ms: Type.Optional(Ms),
  hold_queue: Type.Optional(Type.Boolean({ description: 'with postponed: nothing of the queue is started until then' })),
  wall_ms: Type.Optional(Ms),
  exit: Type.Optional(Type.Object({ code: Type.Optional(Type.Integer()), signal: Type.Optional(Type.String({ maxLength: 32 })) })),
}
export const ResultItem = Type.Object({ l: Handle, ...settlement })
export type ResultItem = Static<typeof ResultItem>

/** A result with its proof, for the HTTP fallback and for another broker: the lease id itself instead of a handle. */
export const ProvenResult = Type.Object({ run: RunId, lease: LeaseId, ...settlement })
export type ProvenResult = Static<typeof ProvenResult>

// ── worker → broker ────────────────────────────────────────────────────────────────────────────

export const Hello = frame('hello', {
  worker: Name,
  instance: Name,
  sdk: Type.Object({ name: Name, version: Name, lang: Name }),
  caps: Type.Array(Name, { maxItems: 64 }),
  subs: Type.Array(Subscription, { maxItems: 64 }),
  held: Type.Array(HeldLease, { maxItems: 10_000 }),
  resume: Type.Optional(Type.Object({ session: Name, key: Name })),
  host: Type.Optional(Name),
  pid: Type.Optional(Type.Integer()),
  concurrency: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
})
export const Subs = frame('subs', { v: Type.Integer({ minimum: 1 }), items: Type.Array(Subscription, { maxItems: 64 }) })
export const Accept = frame('accept', { l: Handles })
export const Heartbeat = frame('hb', { n: Type.Integer({ minimum: 1 }), held: Handles })
export const Result = frame('result', { items: Type.Array(ResultItem, { minItems: 1, maxItems: 1_000 }) })
export const Release = frame('release', {
  items: Type.Array(Type.Object({ l: Handle, reason: literals(RELEASE_REASONS), delay_ms: Type.Optional(Ms) }), { minItems: 1, maxItems: 10_000 }),
})
export const WorkerDrain = frame('drain', { deadline_ms: Ms })
export const Bye = frame('bye', { reason: Name })

const Bytes = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'bytes of UTF-8' })
/** A piece of what running code printed. Lossy: `dropped` bytes before it were not sent. */
export const LogItem = Type.Object({
  l: Handle,
  seq: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }),
  stream: literals(LOG_STREAMS),
  off: Bytes,
  text: Type.String({ maxLength: LOG_TEXT }),
  dropped: Type.Optional(Bytes),
})
export type LogItem = Static<typeof LogItem>
export const Log = frame('log', { items: Type.Array(LogItem, { minItems: 1, maxItems: 1_000 }) })

/** How far a run is, in the words of its code. */
export const ProgressItem = Type.Object({
  l: Handle,
  pct: Type.Optional(Type.Number({ minimum: 0, maximum: 100 })),
  note: Type.Optional(Type.String({ maxLength: 1_024 })),
  data: Type.Optional(JsonText),
  checkpoint: Type.Optional(JsonText),
})
export type ProgressItem = Static<typeof ProgressItem>
export const Progress = frame('progress', { items: Type.Array(ProgressItem, { minItems: 1, maxItems: 1_000 }) })

/** Sets the run-time a run has left, counted from now; it adds nothing to what there was. */
export const ExtendItem = Type.Object({ l: Handle, timeout_ms: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'milliseconds' }) })
export type ExtendItem = Static<typeof ExtendItem>
export const Extend = frame('extend', { items: Type.Array(ExtendItem, { minItems: 1, maxItems: 1_000 }) })

// ── broker → worker ────────────────────────────────────────────────────────────────────────────

export const Verdict = Type.Object({
  run: RunId,
  lease: LeaseId,
  verdict: literals(['keep', 'lost', 'finalized', 'cancel']),
  l: Type.Optional(Handle),
})
export type Verdict = Static<typeof Verdict>

export const Welcome = frame('welcome', {
  session: Name,
  key: Name,
  conn: Type.Integer({ minimum: 1 }),
  resumed: Type.Boolean(),
  caps: Type.Array(Name),
  hb_ms: Ms,
  lease_ms: Ms,
  safety_ms: Ms,
  reconnect_ms: Ms,
  limits: Type.Object({
    frame: Type.Integer(),
    payload: Type.Integer(),
    output: Type.Integer(),
    window: Type.Integer(),
    batch: Type.Integer(),
    log: Type.Optional(Type.Integer()),
    checkpoint: Type.Optional(Type.Integer()),
  }),
  verdicts: Type.Array(Verdict),
  refused: Type.Array(Type.Object({ queue: Name, code: Type.Literal('forbidden') })),
})
export const LeasedRun = Type.Object({
  l: Handle,
  lease: LeaseId,
  run: RunId,
  task: Type.String(),
  queue: Name,
  attempt: Type.Integer({ minimum: 1 }),
  max_attempts: Type.Integer(),
  timeout_ms: Ms,
  cancel_grace_ms: Ms,
  spec: JsonText,
  parents: Type.Optional(JsonText),
  parents_error: Type.Optional(Text),
  checkpoint: Type.Optional(JsonText),
  alone: Type.Optional(literals(['process', 'worker'])),
})
export type LeasedRun = Static<typeof LeasedRun>
export const Runs = frame('runs', { items: Type.Array(LeasedRun, { minItems: 1, maxItems: 1_000 }) })

export const Cancellation = Type.Object({ l: Handle, mode: literals(['soft', 'hard']), reason: Name, grace_ms: Ms })
export type Cancellation = Static<typeof Cancellation>
export const Cancel = frame('cancel', { items: Type.Array(Cancellation, { minItems: 1 }) })

export const HeartbeatAck = frame('hb_ack', {
  n: Type.Integer({ minimum: 1 }),
  ok: Type.Boolean(),
  lost: Handles,
  cancel: Type.Array(Cancellation),
})
export const ResultOk = frame('result_ok', {
  items: Type.Array(
    Type.Object({
      l: Handle,
      disp: literals(['finalized', 'retry_scheduled', 'duplicate']),
      delay_ms: Type.Optional(Ms),
      code: Type.Optional(literals(['invalid_output', 'output_too_large'])),
    }),
  ),
})
export const ResultNo = frame('result_no', {
  items: Type.Array(Type.Object({ l: Handle, code: literals(REFUSAL_CODES), retry_after_ms: Type.Optional(Ms) })),
})
/** What was granted, or the code that says why nothing was. */
export const ExtendedItem = Type.Object({ l: Handle, timeout_ms: Type.Optional(Ms), code: Type.Optional(literals(EXTEND_CODES)), retry_after_ms: Type.Optional(Ms) })
export type ExtendedItem = Static<typeof ExtendedItem>
export const Extended = frame('extended', { items: Type.Array(ExtendedItem, { minItems: 1 }) })
/** The reason of a `drain` that is about this worker, not about the broker: it is to finish and end. */
export const RETIRE = 'retire'
export const BrokerDrain = frame('drain', { reason: Name, grace_ms: Ms, reconnect_ms: Ms })
export const ErrorFrame = frame('error', {
  code: literals(ERROR_CODES),
  fatal: Type.Boolean(),
  retry: literals(['never', 'backoff', 'now']),
  message: Text,
  retry_after_ms: Type.Optional(Ms),
  ref: Type.Optional(Name),
})

/** Every frame, by direction and by the value of `t`. */
export const workerFrames = { hello: Hello, subs: Subs, accept: Accept, hb: Heartbeat, result: Result, release: Release, log: Log, progress: Progress, extend: Extend, drain: WorkerDrain, bye: Bye }
export const brokerFrames = { welcome: Welcome, runs: Runs, cancel: Cancel, hb_ack: HeartbeatAck, result_ok: ResultOk, result_no: ResultNo, extended: Extended, drain: BrokerDrain, error: ErrorFrame }

type FrameOf<Table> = { [T in keyof Table]: Static<Table[T] & import('typebox').TSchema> }
export type WorkerFrameOf = FrameOf<typeof workerFrames>
export type BrokerFrameOf = FrameOf<typeof brokerFrames>
export type WorkerFrame = WorkerFrameOf[keyof WorkerFrameOf]
export type BrokerFrame = BrokerFrameOf[keyof BrokerFrameOf]
