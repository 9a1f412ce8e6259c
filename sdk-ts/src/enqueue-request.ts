import type { EnqueueRequest } from '../../protocol/src/rest.js'
import { durationMs, type Duration } from './duration.js'
import { InvalidInput, InvalidOption } from './errors.js'
import type { TaskReference } from './task-reference.js'

/** Options of one run. What is left out comes from the task, then from the broker. */
export interface EnqueueOptions {
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
  /** Of all enqueues of one task with the same key, one makes a run; the others answer with it. Makes a retry safe. */
  idempotencyKey?: string
}

/** The body of an enqueue. Throws InvalidInput, InvalidOption and InvalidDuration. */
export async function enqueueRequest(target: TaskReference | string, input: unknown, options: EnqueueOptions = {}): Promise<EnqueueRequest> {
  const task: Partial<TaskReference> & { name: string } = typeof target === 'string' ? { name: target } : target
  const call = task.toCall ? await task.toCall(input) : { args: input === undefined ? [] : [input] }
  const { delay, runAt, timeout } = options
  if (delay !== undefined && runAt !== undefined) throw new InvalidOption('delay and runAt exclude each other', 'give one of them')
  return withoutUndefined({
    task: task.name,
    args: call.args,
    kwargs: call.kwargs,
    queue: options.queue ?? task.queue,
    priority: options.priority ?? task.priority,
    delay_ms: delay === undefined ? undefined : durationMs(delay),
    run_after: runAt === undefined ? undefined : instantText(runAt),
    max_attempts: options.maxAttempts ?? task.maxAttempts,
    timeout_ms: timeout === undefined ? task.timeoutMs : durationMs(timeout),
    idempotency_key: options.idempotencyKey,
  }) as EnqueueRequest
}

/** JSON text of arguments or a body. Throws InvalidInput for what JSON cannot say (a BigInt, a value inside itself). */
export function payloadText(task: string, value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch (error) {
    throw new InvalidInput(task, [{ message: error instanceof Error ? error.message : String(error) }], error)
  }
}

function instantText(instant: Date | string): string {
  const date = new Date(instant)
  if (Number.isNaN(date.getTime())) throw new InvalidOption(`runAt is no instant: ${JSON.stringify(instant)}`, 'give a Date or text such as "2030-01-31T08:00:00Z"')
  return date.toISOString()
}

const withoutUndefined = (fields: Record<string, unknown>) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
