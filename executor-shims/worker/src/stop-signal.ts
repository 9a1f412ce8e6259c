import type { Stop } from './executor.js'

/** What executors use of an AbortSignal. The reason is a Stop. */
export interface StopSignal {
  readonly aborted: boolean
  readonly reason: unknown
  addEventListener(type: 'abort', listener: () => void): void
  removeEventListener(type: 'abort', listener: () => void): void
}

/**
 * Tells one attempt to stop, once. Made for every run, so it is no AbortController: most runs are never stopped and most
 * handlers never look, and a real signal costs more than all else a worker does for a run.
 */
export class StopSource implements StopSignal {
  #stop: Stop | undefined
  #listeners: Set<() => void> | undefined

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

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners ??= new Set()
    this.#listeners.add(listener)
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    this.#listeners?.delete(listener)
  }
}

/** The real thing, for code that is not ours. */
export function abortSignalOf(stopping: StopSignal): AbortSignal {
  const controller = new AbortController()
  if (stopping.aborted) controller.abort(stopping.reason)
  else stopping.addEventListener('abort', () => controller.abort(stopping.reason))
  return controller.signal
}
