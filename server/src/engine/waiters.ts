import { isFinal } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import type { Events } from '../events.js'
import { settled } from '../runs/find.js'

const SWEEP_MS = 500

/**
 * Those who wait for a run to end. What this broker settles reaches them at once, by event; what another broker, the Go
 * worker or Admin settles is found by one sweep for all waiting runs, which only runs while somebody waits.
 */
export class Waiters {
  readonly #db: Db
  readonly #waiting = new Map<string, Set<() => void>>()
  readonly #unsubscribe: () => void
  readonly #onError: (error: unknown) => void
  #timer: NodeJS.Timeout | undefined

  constructor(db: Db, events: Events, onError: (error: unknown) => void) {
    this.#db = db
    this.#onError = onError
    this.#unsubscribe = events.on('run.settled', ({ runId, status }) => isFinal(status) && this.#wake(runId))
  }

  /** Calls back once when the run is final or gone, unless the returned function is called first. */
  whenFinal(run: string, callback: () => void): () => void {
    const callbacks = this.#waiting.get(run) ?? new Set()
    this.#waiting.set(run, callbacks.add(callback))
    this.#timer ??= setTimeout(() => void this.#sweep(), SWEEP_MS).unref()
    return () => {
      callbacks.delete(callback)
      if (callbacks.size === 0 && this.#waiting.get(run) === callbacks) this.#waiting.delete(run)
    }
  }

  stop(): void {
    this.#unsubscribe()
    clearTimeout(this.#timer)
    for (const run of [...this.#waiting.keys()]) this.#wake(run)
  }

  async #sweep() {
    this.#timer = undefined
    if (this.#waiting.size === 0) return
    try {
      for (const { id } of await settled(this.#db, [...this.#waiting.keys()])) this.#wake(id)
    } catch (error) {
      this.#onError(error)
    }
    if (this.#waiting.size > 0) this.#timer ??= setTimeout(() => void this.#sweep(), SWEEP_MS).unref()
  }

  #wake(run: string) {
    const callbacks = this.#waiting.get(run)
    this.#waiting.delete(run)
    for (const callback of callbacks ?? []) callback()
  }
}
