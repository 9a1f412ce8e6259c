import type { EnqueueRequest } from '../../protocol/src/rest.js'
import { durationMs, type Duration } from './duration.js'
import { InvalidInput, InvalidOption } from './errors.js'
import { jsonText } from './float.js'
import { checkNames, namesOf } from './known-names.js'
import { CONTROL_NAMES, controlFields, retryPolicy, type RetryOptions, type RunControls } from './run-options.js'
import type { TaskReference } from './task-reference.js'

/** Options of one run. What is left out comes from the task, then from the broker. */
export interface EnqueueOptions extends RunControls<never> {
  /** Not before this much time has passed. Excludes `runAt`. */
  delay?: Duration
  /** Not before this instant. Excludes `delay`. */
  runAt?: Date | string
  /** Higher runs first; an integer from -32,768 to 32,767. */
  priority?: number
  queue?: string
  /** How often the run is tried, the first time included. */
  maxAttempts?: number
  /** Run-time limit of one attempt, kept in whole seconds (rounded up). */
  timeout?: Duration
  /** A run that has not started by this instant never starts: it ends as CANCELLED. Excludes `expiresIn`. */
  expiresAt?: Date | string
  /** When a failed attempt is followed by another; in place of the task's policy. */
  retry?: RetryOptions
  /** Of all enqueues of one task with the same key, one makes a run; the others answer with it. Makes a retry safe. */
  idempotencyKey?: string
}

const OPTION_NAMES = namesOf<EnqueueOptions>({
  delay: true, runAt: true, priority: true, queue: true, maxAttempts: true, timeout: true, expiresAt: true, retry: true, idempotencyKey: true, ...CONTROL_NAMES,
})

/** The body of an enqueue. Throws InvalidInput, InvalidOption and InvalidDuration. */
export async function enqueueRequest(target: TaskReference | string, input: unknown, options: EnqueueOptions = {}): Promise<EnqueueRequest> {
  checkNames(options, OPTION_NAMES, 'An enqueue has no option')
  const task: Partial<TaskReference> & { name: string } = typeof target === 'string' ? { name: target } : target
  const call = task.toCall ? await task.toCall(input) : { args: input === undefined ? [] : [input] }
  const { delay, runAt, timeout, expiresAt, retry, idempotencyKey } = options
  if (delay !== undefined && runAt !== undefined) throw new InvalidOption('delay and runAt exclude each other', 'give one of them')
  if (expiresAt !== undefined && options.expiresIn !== undefined) throw new InvalidOption('expiresAt and expiresIn exclude each other', 'give one of them')
  // The task's default; what the enqueue asks for itself is the broker's to refuse.
  const deduplicate = idempotencyKey === undefined && delay === undefined ? task.controls?.deduplicate : undefined
  const { expires_in_ms, ...controls } = controlFields({ ...task.controls, deduplicate, ...withoutUndefined(options) }, input)
  return withoutUndefined({
    task: task.name,
    args: call.args,
    kwargs: call.kwargs,
    queue: options.queue ?? task.queue,
    priority: options.priority ?? task.priority,
    delay_ms: delay === undefined ? undefined : durationMs(delay),
    run_after: runAt === undefined ? undefined : instantText('runAt', runAt),
    max_attempts: options.maxAttempts ?? retry?.attempts ?? task.maxAttempts,
    timeout_ms: timeout === undefined ? task.timeoutMs : durationMs(timeout),
    idempotency_key: idempotencyKey,
    ...controls,
    ...(expiresAt === undefined ? { expires_in_ms } : { expires_at: instantText('expiresAt', expiresAt) }),
    retry: (retry && retryPolicy(retry)) ?? task.retry,
  }) as EnqueueRequest
}

/** JSON text of arguments or a body. Throws InvalidInput for what JSON cannot say (a BigInt, a value inside itself). */
export function payloadText(task: string, value: unknown): string {
  try {
    return jsonText(value)
  } catch (error) {
    throw new InvalidInput(task, [{ message: error instanceof Error ? error.message : String(error) }], error)
  }
}

function instantText(option: string, instant: Date | string): string {
  const date = new Date(instant)
  if (Number.isNaN(date.getTime())) throw new InvalidOption(`${option} is no instant: ${JSON.stringify(instant)}`, 'give a Date or text such as "2030-01-31T08:00:00Z"')
  return date.toISOString()
}

const withoutUndefined = (fields: object) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
