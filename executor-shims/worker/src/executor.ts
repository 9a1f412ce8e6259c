import type { LeasedRun, LogStream, Outcome, RunError } from '../../../protocol/src/index.js'
import type { Progress } from './progress.js'
import type { StopSignal } from './stop-signal.js'

/**
 * One attempt to execute: a leased run as the broker sent it. `spec` is the text of Reproq's spec_json, `checkpoint` what an
 * earlier attempt left for this one, JSON text too. `alone`: it may end the process it runs in.
 */
export type Assignment = Omit<LeasedRun, 'l'>

/** Where what running code says goes. */
export interface Voice {
  /** Whole characters, in the order they were written. */
  print(stream: LogStream, text: string): void
  progress(progress: Progress): void
  /** Sets the run-time left, in milliseconds; resolves to what was granted. Rejects with ExtendRefused. Missing: nobody can. */
  extend?(timeoutMs: number): Promise<number>
  /** The largest checkpoint that will be kept, as JSON text. */
  readonly checkpointBytes?: number
}

/** How an attempt ended. `output` is JSON text. The same words travel in the `result` frame. */
export interface Settlement {
  outcome: Outcome
  output?: string
  error?: RunError
  /** `false`: failing again is certain, so no further attempt is made. Default: try again while attempts remain. */
  retryable?: boolean
  /** Milliseconds the task asks to wait before the next attempt, in place of the backoff; `postponed`: until this one starts anew. */
  retryAfterMs?: number
  /** With `postponed`: nothing of its queue is started until then. */
  holdQueue?: boolean
  exit?: { code?: number; signal?: string }
}

/** Why running code is told to stop; the `reason` of the signal an executor is given. */
export type StopReason = 'cancelled' | 'timeout' | 'shutdown' | 'lost_lease'

/** Reason object of that signal. `hard`: no grace, kill now. */
export class Stop extends Error {
  readonly reason: StopReason
  readonly hard: boolean
  /** With `timeout`: the time that it was granted last, if that was not its own timeout. */
  readonly grantedMs: number | undefined
  constructor(reason: StopReason, hard = false, grantedMs?: number) {
    super(`The run was stopped: ${reason}`)
    this.name = 'Stop'
    this.reason = reason
    this.hard = hard
    this.grantedMs = grantedMs
  }
}

/** Runs the payloads of some tasks: in this process, or in a child process. */
export interface Executor {
  /** One word for logs and the banner: `typescript`, `python`, … */
  readonly name: string
  /** Its runs share the worker's own process: what ends one ends all. */
  readonly isInProcess?: boolean
  /** Whether it takes runs from that queue at all. Default: from every one. */
  takesFrom?(queue: string): boolean
  /** Whether this executor can run that task, of runs that wait in that queue. */
  serves(task: string, queue?: string): boolean
  /**
   * Runs one attempt to its end. Never rejects: every fault is a Settlement. After `signal` aborts it stops the code
   * (soft first, hard after the assignment's `cancel_grace_ms`) and settles soon, so that the slot is free again.
   * What the code prints and reports goes to `voice`, as it comes.
   */
  execute(assignment: Assignment, signal: StopSignal, voice?: Voice): Promise<Settlement>
  /** The code has changed: whatever was loaded before serves no further run. What runs is left alone. */
  reload?(): void
  /** Kills whatever still runs and frees what is held. */
  stop(): Promise<void>
}

/** Whether nothing else of a worker may run beside it: also when a process of its own would be enough, if it has none. */
export function isLoner({ alone }: LeasedRun, executor: Executor | undefined): boolean {
  return alone === 'worker' || (alone === 'process' && executor?.isInProcess === true)
}
