import type { Problem, Run, RunFailure } from '../../protocol/src/rest.js'
import { durationMs, type Duration } from './duration.js'
import { ReproqError } from './reproq-error.js'
import { describeIssues, type Issue } from './standard-schema.js'

export { ReproqError } from './reproq-error.js'
export { InvalidDuration } from './duration.js'

/** The run used up its attempts, or failed in a way that no further attempt can cure. `code` TASK_FAILED. */
export class TaskFailed extends ReproqError {
  readonly run: Run
  /** The failure of the last attempt, in the words of the language it happened in. */
  readonly failure: RunFailure | undefined
  constructor(run: Run) {
    const failure = run.errors.at(-1)
    const reason = failure ? `${failure.class}: ${failure.message}` : (run.last_error ?? 'no reason was recorded')
    super('TASK_FAILED', `Task "${run.task}" (run ${run.id}) failed after ${run.attempts} of ${run.max_attempts} attempts: ${reason}`)
    this.name = 'TaskFailed'
    this.run = run
    this.failure = failure
  }
  /** The stack of the failing code as text, when the worker sent one. */
  get remoteStack(): string | undefined {
    return this.failure?.traceback ?? undefined
  }
}

/** The run was cancelled before it could succeed, or expired before it was started. `code` TASK_CANCELLED. */
export class TaskCancelled extends ReproqError {
  readonly run: Run
  constructor(run: Run) {
    const failure = run.errors.at(-1)
    super('TASK_CANCELLED', `Task "${run.task}" (run ${run.id}) was cancelled${failure?.kind === 'expired' ? `: ${failure.message}` : ''}`)
    this.name = 'TaskCancelled'
    this.run = run
  }
}

/** Waiting took too long. Only the waiting ended: the run goes on. `code` WAIT_TIMEOUT. */
export class WaitTimeout extends ReproqError {
  readonly runId: string
  constructor(runId: string, timeoutMs: number, cause?: unknown) {
    super('WAIT_TIMEOUT', `Run ${runId} was not finished after ${timeoutMs} ms; it goes on`, {
      hint: 'Wait longer with result({ timeout }), or stop the run with cancel()',
      cause,
    })
    this.name = 'WaitTimeout'
    this.runId = runId
  }
}

/** A checkpoint over the broker's limit: it was not kept, the one before still is. `code` CHECKPOINT_TOO_LARGE. */
export class CheckpointTooLarge extends ReproqError {
  constructor(task: string, bytes: number, limit: number) {
    super('CHECKPOINT_TOO_LARGE', `The checkpoint of task "${task}" is ${bytes} bytes, the broker's limit is ${limit}`, {
      hint: 'Store it elsewhere and keep where it is, or raise REPROQ_CHECKPOINT_BYTES',
    })
    this.name = 'CheckpointTooLarge'
  }
}

/** No answer came from the broker. `code` BROKER_UNREACHABLE. */
export class BrokerUnreachable extends ReproqError {
  readonly url: string
  constructor(url: string, hint: string, cause: unknown) {
    super('BROKER_UNREACHABLE', `No answer from the broker at ${url}: ${rootMessage(cause)}`, { hint, cause })
    this.name = 'BrokerUnreachable'
    this.url = url
  }
}

/** The broker refused the request. `code` and `hint` are the broker's own (RFC 9457 problem). */
export class HttpProblem extends ReproqError {
  readonly status: number
  readonly title: string
  constructor(problem: Problem) {
    super(problem.code, problem.detail || problem.title, problem.hint === undefined ? {} : { hint: problem.hint })
    this.name = 'HttpProblem'
    this.status = problem.status
    this.title = problem.title
  }
}

/** No run has this id. `code` RUN_NOT_FOUND. */
export class RunNotFound extends HttpProblem {
  override name = 'RunNotFound'
}

/** No workflow has this id. `code` WORKFLOW_NOT_FOUND. */
export class WorkflowNotFound extends HttpProblem {
  override name = 'WorkflowNotFound'
}

/** The token is missing, wrong, or not allowed to do this: `status` 401 or 403. */
export class AccessDenied extends HttpProblem {
  override name = 'AccessDenied'
}

/** The broker lives but cannot serve now, most often because its database is away. `status` 503. */
export class BrokerUnavailable extends HttpProblem {
  override name = 'BrokerUnavailable'
}

/** The error class for a problem the broker reported. */
export function problemError(problem: Problem): HttpProblem {
  if (problem.code === 'RUN_NOT_FOUND') return new RunNotFound(problem)
  if (problem.code === 'WORKFLOW_NOT_FOUND') return new WorkflowNotFound(problem)
  if (problem.status === 401 || problem.status === 403) return new AccessDenied(problem)
  if (problem.status === 503) return new BrokerUnavailable(problem)
  return new HttpProblem(problem)
}

/** A later part of an `enqueueMany` failed. The runs before it exist; the reason is the `cause`. `code` PARTLY_ENQUEUED. */
export class PartlyEnqueued extends ReproqError {
  /** Ids of the runs that exist, in the order of the items: `ids[i]` belongs to item `i`. */
  readonly ids: string[]
  constructor(ids: string[], total: number, cause: unknown) {
    super('PARTLY_ENQUEUED', `${ids.length} of ${total} runs were enqueued, then: ${rootMessage(cause)}`, {
      hint: `Enqueue again from item ${ids.length} on, or give each item an idempotencyKey and repeat the whole call`,
      cause,
    })
    this.name = 'PartlyEnqueued'
    this.ids = ids
  }
}

/** A task definition or an option that cannot work. `code` INVALID_OPTION. */
export class InvalidOption extends ReproqError {
  constructor(message: string, hint?: string) {
    super('INVALID_OPTION', message, hint === undefined ? {} : { hint })
    this.name = 'InvalidOption'
  }
}

/** The input does not fit the task. Final: the same input never fits. `code` INVALID_INPUT. */
export class InvalidInput extends ReproqError {
  override readonly retryable = false
  readonly issues: readonly Issue[]
  constructor(task: string, issues: readonly Issue[], cause?: unknown) {
    super('INVALID_INPUT', `The input of task "${task}" is invalid: ${describeIssues(issues)}`, {
      hint: 'Inputs travel as JSON and are checked as they arrive: a Date is a string there',
      cause,
    })
    this.name = 'InvalidInput'
    this.issues = issues
  }
}

/** What the task returned does not fit its output schema, or is no JSON. Final: its work is done. `code` INVALID_OUTPUT. */
export class InvalidOutput extends ReproqError {
  override readonly retryable = false
  readonly issues: readonly Issue[]
  constructor(task: string, issues: readonly Issue[], cause?: unknown) {
    super('INVALID_OUTPUT', `The output of task "${task}" is invalid: ${describeIssues(issues)}`, {
      hint: 'Return plain JSON values; turn a BigInt into a string and leave out what refers to itself',
      cause,
    })
    this.name = 'InvalidOutput'
    this.issues = issues
  }
}

/** What the runs before it came to cannot be given to this one. Final: it stays as it is. `code` PARENTS_UNAVAILABLE. */
export class ParentsUnavailable extends ReproqError {
  override readonly retryable = false
  constructor(task: string, runId: string, reason: string) {
    super('PARENTS_UNAVAILABLE', `Task "${task}" (run ${runId}) asked for its parents: ${reason}`, {
      hint: 'Let large results be stored elsewhere and return references; a run has the parents that its node names in "after"',
    })
    this.name = 'ParentsUnavailable'
  }
}

/** Why a run may not have another run-time limit. */
export type ExtendRefusal = 'stale_lease' | 'unknown_handle' | 'stopping' | 'maximum_reached' | 'temporary' | 'unsupported'

const EXTEND_REFUSALS: Record<ExtendRefusal, [because: string, hint: string]> = {
  stale_lease: ['its lease is over', 'Stop: the run has ended, or another worker may be running it'],
  unknown_handle: ['its lease is over', 'Stop: the run has ended, or another worker may be running it'],
  stopping: ['it was told to stop', 'Clean up and return; context.signal says why'],
  maximum_reached: ['nothing is left of the longest time an attempt may run', 'Let the broker allow more (REPROQ_MAX_TIMEOUT_MS), or split the work over several runs'],
  temporary: ["the broker's database cannot be reached", 'Ask again in a moment'],
  unsupported: ['its worker or broker cannot extend runs', 'Upgrade them, or enqueue the run with a longer timeout'],
}

/** The run got no other run-time limit: the one it has stands. `code` EXTEND_REFUSED. */
export class ExtendRefused extends ReproqError {
  readonly reason: ExtendRefusal
  constructor({ task, run }: { task: string; run: string }, reason: ExtendRefusal) {
    const [because, hint] = EXTEND_REFUSALS[reason]
    super('EXTEND_REFUSED', `Task "${task}" (run ${run}) asked for more time: ${because}`, { hint })
    this.name = 'ExtendRefused'
    this.reason = reason
  }
}

/** Throw it in a task when another attempt cannot help. `code` NON_RETRYABLE. */
export class NonRetryableError extends ReproqError {
  override readonly retryable = false
  constructor(message: string, options?: { cause?: unknown }) {
    super('NON_RETRYABLE', message, options)
    this.name = 'NonRetryableError'
  }
}

/**
 * Throw it in a task to choose when the next attempt starts, in place of the backoff. It still counts as an attempt.
 * `code` RETRY_AFTER. Its constructor throws InvalidDuration.
 */
export class RetryAfter extends ReproqError {
  readonly retryAfterMs: number
  constructor(delay: Duration, message = 'The task asked for another attempt later', options?: { cause?: unknown }) {
    super('RETRY_AFTER', message, options)
    this.name = 'RetryAfter'
    this.retryAfterMs = durationMs(delay)
  }
}

/**
 * Throw it in a task to be started again later, as if this attempt had not been: it costs none. With `queue: true` nothing
 * of the whole queue is started until then, for example when a service everybody calls asks for a pause.
 * `code` POSTPONE. Its constructor throws InvalidDuration.
 */
export class Postpone extends ReproqError {
  readonly postponeMs: number
  readonly holdQueue: boolean
  constructor(delay: Duration, { queue = false, message = 'The task asked to be started later' }: { queue?: boolean; message?: string } = {}) {
    super('POSTPONE', message)
    this.name = 'Postpone'
    this.postponeMs = durationMs(delay)
    this.holdQueue = queue
  }
}

/** fetch wraps the socket's error once, undici not at all: the innermost message says what happened. */
function rootMessage(error: unknown): string {
  let innermost = error
  while (innermost instanceof Error && innermost.cause instanceof Error) innermost = innermost.cause
  if (!(innermost instanceof Error)) return String(innermost)
  const code = 'code' in innermost && typeof innermost.code === 'string' ? innermost.code : ''
  return innermost.message || code || innermost.name
}
