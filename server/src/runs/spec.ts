import { canonicalSpec, members, specShape, storageFault, type EnqueueRequest, type SpecShape } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { controlOf, instantMs, type Control } from './control.js'
import { hashOfCanonical } from './spec-hash.js'

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
  const canonical = canonicalSpec(shape, args, kwargs)
  return { task: request.task, queue, priority, spec, specHash: hashOfCanonical(canonical), runAfterMs, maxAttempts, timeoutSeconds, idempotencyKey: request.idempotency_key ?? null, control }
}

type Kind = Pick<NewRun, 'task' | 'queue' | 'priority' | 'maxAttempts' | 'timeoutSeconds' | 'control' | 'runAfterMs'>

let last: { kind: Kind; shape: SpecShape } | undefined

/** Runs of one task come together: what surrounds their arguments is printed once. */
function shapeOf(kind: Kind): SpecShape {
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

function print({ task, queue, priority, maxAttempts, timeoutSeconds, control, runAfterMs }: Kind): SpecShape {
  return specShape({
    task,
    queue,
    priority,
    lockKey: control?.lockKey ?? null,
    concurrencyKey: control?.concurrencyKey ?? null,
    concurrencyLimit: control?.concurrencyLimit ?? 0,
    runAfterMs,
    timeoutSeconds,
    maxAttempts,
  })
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
