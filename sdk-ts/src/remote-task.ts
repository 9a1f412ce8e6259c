import type { AsJson } from './as-json.js'
import { durationMs, type Duration } from './duration.js'
import { checkNames, namesOf } from './known-names.js'
import { CONTROL_NAMES, retryPolicy, type RetryOptions, type RunControls } from './run-options.js'
import type { Call, TaskReference } from './task-reference.js'

/** Defaults for runs of a task that is defined elsewhere. */
export interface RemoteTaskOptions<Input = never> extends RunControls<Input> {
  queue?: string
  priority?: number
  /** How often a run is tried, the first time included. */
  maxAttempts?: number
  retry?: RetryOptions
  /** Run-time limit of one attempt. */
  timeout?: Duration
}

const OPTION_NAMES = namesOf<RemoteTaskOptions>({ queue: true, priority: true, maxAttempts: true, retry: true, timeout: true, ...CONTROL_NAMES })
const CALL_NAMES = namesOf<Call>({ args: true, kwargs: true })

/**
 * A task of another language or program, called with positional and keyword arguments:
 * `remoteTask<{ args: [number, number] }, number>('mypkg.tasks.add', { queue: 'python' })`.
 * The types are a promise of yours; nothing checks them. Throws InvalidOption and InvalidDuration.
 */
export function remoteTask<Arguments extends Call = Call, Output = unknown>(name: string, options: RemoteTaskOptions<Arguments> = {}): TaskReference<Arguments, AsJson<Output>> {
  checkNames(options, OPTION_NAMES, `Task "${name}": there is no option`)
  const { queue, priority, maxAttempts, timeout, retry, ...controls } = options
  const attempts = maxAttempts ?? retry?.attempts
  const policy = retry && retryPolicy(retry, `Task "${name}": `)
  return {
    name,
    ...(queue !== undefined && { queue }),
    ...(priority !== undefined && { priority }),
    ...(attempts !== undefined && { maxAttempts: attempts }),
    ...(policy && { retry: policy }),
    controls: controls as RunControls,
    ...(timeout !== undefined && { timeoutMs: durationMs(timeout) }),
    async toCall(input) {
      const call = (input ?? {}) as Call
      checkNames(call, CALL_NAMES, `Task "${name}" is called with { args, kwargs }; there is no`)
      return call
    },
  }
}
