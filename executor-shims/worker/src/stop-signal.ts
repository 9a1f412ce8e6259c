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
  /** An array: there are one or two, and a Set for each run shows. */
  #listeners: (() => void)[] | undefined

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
