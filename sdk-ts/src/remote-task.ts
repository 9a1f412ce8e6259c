import type { AsJson } from './as-json.js'
import { durationMs, type Duration } from './duration.js'
import type { Call, TaskReference } from './task-reference.js'

/** Defaults for runs of a task that is defined elsewhere. */
export interface RemoteTaskOptions {
  queue?: string
  priority?: number
  /** How often a run is tried, the first time included. */
  maxAttempts?: number
  /** Run-time limit of one attempt. */
  timeout?: Duration
}

/**
 * A task of another language or program, called with positional and keyword arguments:
 * `remoteTask<{ args: [number, number] }, number>('mypkg.tasks.add', { queue: 'python' })`.
 * The types are a promise of yours; nothing checks them. Throws InvalidDuration.
 */
export function remoteTask<Arguments extends Call = Call, Output = unknown>(name: string, options: RemoteTaskOptions = {}): TaskReference<Arguments, AsJson<Output>> {
  const { timeout, ...defaults } = options
  return {
    ...defaults,
    name,
    ...(timeout !== undefined && { timeoutMs: durationMs(timeout) }),
    toCall: async (input) => (input ?? {}) as Call,
  }
}
