import { members, storageFault, type EnqueueRequest } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { controlOf, instantMs, type Control } from './control.js'
import { canonicalJson, hashOfCanonical } from './spec-hash.js'

/** A run to be made, as the enqueue statements take it. */
export interface NewRun {
  task: string
  queue: string
  priority: number
  /** Reproq's spec_json, as JSON text. */
  spec: string
  specHash: string
  /** Milliseconds since the epoch, or null for at once. */
  runAfterMs: number | null
  maxAttempts: number
  timeoutSeconds: number
  idempotencyKey: string | null
  /** Null for an ordinary run, whose columns of this all stay null. */
  control: Control | null
}

/** Postgres' own nesting limit is far higher; code that walks a payload should not have to be. */
const MAX_DEPTH = 64

/**
 * One validated enqueue request → the run to insert. `source` is the request's own JSON text: arguments are cut out of it,
 * never printed again, so 12345678901234567890 and 1.0 arrive as they were sent.
 * Throws INVALID_REQUEST, INVALID_PAYLOAD or PAYLOAD_TOO_LARGE; `where` names the request in the message.
 */
export function newRun(request: EnqueueRequest, source: string, limitBytes: number, where = 'The run'): NewRun {
  const { args, kwargs } = argumentsOf(request, members(source), where)
  const runAfterMs = runAfter(request, where)
  const queue = request.queue ?? 'default'
  const priority = request.priority ?? 0
  const maxAttempts = request.max_attempts ?? 3
  const timeoutSeconds = Math.ceil((request.timeout_ms ?? 900_000) / 1_000)
  const control = controlOf(request, where)
  const shape = shapeOf({ task: request.task, queue, priority, maxAttempts, timeoutSeconds, control, runAfterMs })
  const spec = `${shape.head}${args},"kwargs":${kwargs}${shape.tail}`
  check(spec, limitBytes, where)
  // The canonical form of `spec`, put together in key order: only the arguments have to be read for it.
  const canonical = `{"args":${canonicalJson(args)}${shape.canonicalMiddle}${canonicalJson(kwargs)}${shape.canonicalTail}`
  return { task: request.task, queue, priority, spec, specHash: hashOfCanonical(canonical), runAfterMs, maxAttempts, timeoutSeconds, idempotencyKey: request.idempotency_key ?? null, control }
}

type Kind = Pick<NewRun, 'task' | 'queue' | 'priority' | 'maxAttempts' | 'timeoutSeconds' | 'control' | 'runAfterMs'>

/** The text around the arguments, as it is stored and as it is hashed. */
interface Shape {
  head: string
  tail: string
  canonicalMiddle: string
  canonicalTail: string
}

let last: { kind: Kind; shape: Shape } | undefined

/** Runs of one task come together: what surrounds their arguments is printed once. */
function shapeOf(kind: Kind): Shape {
  if (last && isSameKind(last.kind, kind)) return last.shape
  last = { kind, shape: print(kind) }
  return last.shape
}

function isSameKind(a: Kind, b: Kind): boolean {
  return (
    a.control === null && b.control === null && a.runAfterMs === b.runAfterMs &&
    a.task === b.task && a.queue === b.queue && a.priority === b.priority && a.maxAttempts === b.maxAttempts && a.timeoutSeconds === b.timeoutSeconds
  )
}

function print({ task, queue, priority, maxAttempts, timeoutSeconds, control, runAfterMs }: Kind): Shape {
  const lock = JSON.stringify(control?.lockKey ?? null)
  const concurrency = JSON.stringify(control?.concurrencyKey ?? null)
  const limit = control?.concurrencyLimit ?? 0
  const taskText = JSON.stringify(task)
  const queueText = JSON.stringify(queue)
  const runAfter = runAfterMs === null ? 'null' : `"${isoformat(runAfterMs)}"`
  return {
    head: `{"v":1,"task_path":${taskText},"args":`,
    tail:
      `,"takes_context":false,"queue_name":${queueText},"priority":${priority},"lock_key":${lock},"concurrency_key":${concurrency},"concurrency_limit":${limit},` +
      `"run_after":${runAfter},"exec":{"timeout_seconds":${timeoutSeconds},"max_attempts":${maxAttempts}},"provenance":{"code_ref":null,"pip_lock_hash":null}}`,
    canonicalMiddle: `,"concurrency_key":${concurrency},"concurrency_limit":${limit},"exec":{"max_attempts":${maxAttempts},"timeout_seconds":${timeoutSeconds}},"kwargs":`,
    canonicalTail:
      `,"lock_key":${lock},"priority":${priority},"provenance":{"code_ref":null,"pip_lock_hash":null},"queue_name":${queueText},` +
      `"run_after":${runAfter},"takes_context":false,"task_path":${taskText},"v":1}`,
  }
}

/** An instant as Python's datetime.isoformat() writes it, which is what a Django twin hashes: no fraction, or six digits. */
function isoformat(ms: number): string {
  const [seconds, fraction] = new Date(ms).toISOString().slice(0, -1).split('.') as [string, string]
  return `${seconds}${fraction === '000' ? '' : `.${fraction}000`}+00:00`
}

function argumentsOf(request: EnqueueRequest, raw: Map<string, string>, where: string) {
  const input = raw.get('input')
  if (input !== undefined && (request.args || request.kwargs)) {
    throw new BrokerError('INVALID_REQUEST', `${where} has both input and args or kwargs; input is short for args: [input]`)
  }
  return { args: raw.get('args') ?? (input === undefined ? '[]' : `[${input}]`), kwargs: raw.get('kwargs') ?? '{}' }
}

function runAfter(request: EnqueueRequest, where: string): number | null {
  if (request.run_after !== undefined && request.delay_ms !== undefined) {
    throw new BrokerError('INVALID_REQUEST', `${where} has both delay_ms and run_after; give one`)
  }
  if (request.run_after !== undefined) return instantMs(request.run_after, 'run_after', where)
  return request.delay_ms ? Date.now() + request.delay_ms : null
}

function check(spec: string, limitBytes: number, where: string) {
  const bytes = Buffer.byteLength(spec)
  if (bytes > limitBytes) throw new BrokerError('PAYLOAD_TOO_LARGE', `${where} is ${bytes} bytes; the limit is ${limitBytes}`)
  const fault = storageFault(spec, MAX_DEPTH)
  if (fault) throw new BrokerError('INVALID_PAYLOAD', `${where} cannot be stored: ${fault.code} at position ${fault.position} of its spec`)
}
