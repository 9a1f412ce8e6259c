import { Stop } from './executor.js'

/** What executors use of an AbortSignal. The reason is a Stop. */
export interface StopSignal {
  readonly aborted: boolean
  readonly reason: unknown
  addEventListener(type: 'abort', listener: () => void): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/** setTimeout fires at once for anything longer (24.8 days). */
const LONGEST_TIMER_MS = 2_147_483_647

/**
 * Tells one attempt to stop, once. Made for every run, so it is no AbortController: most runs are never stopped and most
 * handlers never look, and a real signal costs more than all else a worker does for a run.
 */
export class StopSource implements StopSignal {
  #stop: Stop | undefined
  /** An array: there are one or two, and a Set for each run shows. */
  #listeners: (() => void)[] | undefined
  #timer: NodeJS.Timeout | undefined

  get aborted(): boolean {
    return this.#stop !== undefined
  }

  get reason(): Stop | undefined {
    return this.#stop
  }

  /** Only the first stop counts. */
  abort(stop: Stop): void {
    if (this.#stop) return
    this.#stop = stop
    const listeners = this.#listeners
    this.#listeners = undefined
    for (const listener of listeners ?? []) listener()
  }

  /** Stops it for its run-time limit in `ms` (0: never), instead of when that would have been before. `isGranted`: code asked for it. */
  limit(ms: number, isGranted = true): void {
    clearTimeout(this.#timer)
    this.#timer = ms > 0 ? setTimeout(() => this.abort(new Stop('timeout', false, isGranted ? ms : undefined)), Math.min(ms, LONGEST_TIMER_MS)) : undefined
  }

  /** The attempt has ended. */
  unlimit(): void {
    clearTimeout(this.#timer)
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    if (this.#listeners) this.#listeners.push(listener)
    else this.#listeners = [listener]
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const at = this.#listeners?.indexOf(listener) ?? -1
    if (at >= 0) this.#listeners?.splice(at, 1)
  }
}

/** The real thing, for code that is not ours. */
export function abortSignalOf(stopping: StopSignal): AbortSignal {
  const controller = new AbortController()
  if (stopping.aborted) controller.abort(stopping.reason)
  else stopping.addEventListener('abort', () => controller.abort(stopping.reason))
  return controller.signal
}
