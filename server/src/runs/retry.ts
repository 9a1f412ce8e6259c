import type { Outcome, RunError } from '../../../protocol/src/index.js'
import { backoffMs, policyOf, type RetryPolicy } from './retry-policy.js'
import { storable } from './storable.js'

/** When a run without a policy of its own is tried again, and when none is any more. */
export interface RetryRules extends RetryPolicy {
  /** A run that has crashed so often is not tried again; 0, the default: it is. */
  quarantineCrashes?: number
}

/** What a worker reported of one attempt, as the `result` frame has it. */
export interface Report {
  outcome: Outcome
  output?: string | undefined
  error?: RunError | undefined
  retryable?: boolean | undefined
  retry_after_ms?: number | undefined
  hold_queue?: boolean | undefined
}

/** Which attempt of which run it was. `cancelRequested`: the worker had been asked to stop it. */
export interface Attempt {
  attempt: number
  maxAttempts: number
  workerId: string
  cancelRequested: boolean
  /** The run's own retry policy, JSON text; null or absent: the broker's. */
  retry?: string | null | undefined
  /** How often the run has taken its process with it before. */
  crashes?: number | null
}

/** Kind of an entry in `errors_json`. The first four are Reproq's own. */
export type FailureKind = 'app_error' | 'cancelled' | 'security_violation' | 'lease_expiry' | 'timeout' | 'crashed' | 'invalid_output' | 'output_too_large' | 'payload_too_large' | 'quarantined'

/** Where the run goes. `release`: back to READY without costing the attempt, and its queue with it when `holdsQueue`. */
export type Decision =
  | { to: 'SUCCESSFUL'; output: string }
  | { to: 'FAILED' | 'CANCELLED'; kind: FailureKind; error: RunError }
  | { to: 'READY'; delayMs: number; kind: FailureKind; error: RunError; crashes?: number }
  | { to: 'release'; delayMs: number; holdsQueue: boolean }

/** Outcome and attempt → where the run goes next, and when. Pure but for the jitter's `random`. */
export function decide(report: Report, attempt: Attempt, policy: RetryRules, random: () => number = Math.random): Decision {
  const { outcome } = report
  if (outcome === 'ok') return { to: 'SUCCESSFUL', output: report.output ?? 'null' }
  // Stopped without anybody asking: the worker is shutting down. That is no failure of the run.
  if (outcome === 'cancelled' && !attempt.cancelRequested) return { to: 'release', delayMs: 0, holdsQueue: false }
  if (outcome === 'postponed') return { to: 'release', delayMs: report.retry_after_ms ?? 0, holdsQueue: report.hold_queue === true }

  const kind = kindOf[outcome]
  const error = report.error ?? { class: kind, message: defaultMessage[outcome] }
  if (outcome === 'cancelled') return { to: 'CANCELLED', kind, error }
  const crashes = outcome === 'crashed' && error.class !== NOT_STARTED ? (attempt.crashes ?? 0) + 1 : undefined
  const { quarantineCrashes = 0 } = policy
  if (crashes !== undefined && quarantineCrashes > 0 && crashes >= quarantineCrashes) return { to: 'FAILED', kind: 'quarantined', error: quarantined(crashes, error) }
  if (outcome === 'rejected' || report.retryable === false || attempt.attempt >= attempt.maxAttempts) return { to: 'FAILED', kind, error }
  const { waits, nonRetryable } = policyOf(attempt.retry, policy)
  if (nonRetryable.some((name) => isOf(error.class, name))) return { to: 'FAILED', kind, error }
  return { to: 'READY', delayMs: report.retry_after_ms ?? backoffMs(attempt.attempt, waits, random), kind, error, ...(crashes !== undefined && { crashes }) }
}

/** Error class of a run whose code was never reached: the executor did not come about (RQ-PROG-005). */
const NOT_STARTED = 'ExecutorNotStarted'

function quarantined(crashes: number, { class: name, message, traceback }: RunError): RunError {
  const said = `It has taken its worker or executor with it ${crashes} times, so it is not run again. The last time: ${name}: ${message}`
  return { class: 'Quarantined', message: said.slice(0, 65_536), ...(traceback !== undefined && { traceback }) }
}

/** The class itself, or its name without the module that Python puts before it. */
function isOf(errorClass: string, name: string): boolean {
  return errorClass === name || errorClass.endsWith(`.${name}`)
}

const kindOf = {
  error: 'app_error',
  timeout: 'timeout',
  crashed: 'crashed',
  cancelled: 'cancelled',
  rejected: 'security_violation',
} as const satisfies Record<Exclude<Outcome, 'ok' | 'postponed'>, FailureKind>

const defaultMessage = {
  error: 'The task failed',
  timeout: 'The run-time limit passed',
  crashed: 'The executor ended without an answer',
  cancelled: 'Task cancelled by request',
  rejected: 'The worker may not run this task',
} as const satisfies Record<Exclude<Outcome, 'ok' | 'postponed'>, string>

/** The entry kept in `errors_json`, as JSON text, with Reproq's keys. */
export function errorEntry(kind: FailureKind, error: RunError, attempt: Attempt): string {
  return JSON.stringify({
    kind,
    exception_class: storable(error.class),
    message: storable(error.message),
    traceback: storable(error.traceback ?? ''),
    attempt: attempt.attempt,
    at: new Date().toISOString(),
    worker_id: attempt.workerId,
  })
}

/** The one-line `last_error`: 1,024 characters at most, whole ones. */
export function lastError(error: RunError): string {
  return [...storable(`${error.class}: ${error.message}`).slice(0, 2_048)].slice(0, 1_024).join('')
}
