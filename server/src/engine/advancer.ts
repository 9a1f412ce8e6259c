import type { Db } from '../db/pool.js'
import type { Events } from '../events.js'
import { advance } from '../workflows/advance.js'

const BATCH = 1_000
/** Wait before rows that somebody held, or a database that was away, are tried again. */
const AGAIN_MS = 500

/**
 * Moves the runs of workflows that wait for others. A transaction that ends such a run leaves a note and a notification; here
 * notes are worked off until there are none. Every broker hears and tries, one at a time does it.
 */
export class Advancer {
  readonly #db: Db
  readonly #events: Events
  readonly #onError: (error: unknown) => void
  #busy: Promise<void> | undefined
  #again = false
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(db: Db, events: Events, onError: (error: unknown) => void) {
    this.#db = db
    this.#events = events
    this.#onError = onError
  }

  /** Works off the notes that are there. Never rejects. */
  runOnce(): Promise<void> {
    // The step on its way may have looked before the note that this call is about was there.
    this.#again = true
    return (this.#busy ??= this.#advanceAll().finally(() => (this.#busy = undefined)))
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  async #advanceAll() {
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false
        const { taken, postponed, runs } = await advance(this.#db, BATCH)
        for (const { run, queue, task, status } of runs) {
          this.#events.emit('run.settled', { runId: run, queue, task, status, attempt: 0, workerId: undefined, cause: 'workflow', delayMs: 0, wallMs: undefined })
        }
        // What was moved may move others.
        if (taken > 0) this.#again = true
        else if (postponed > 0) this.#tryAgain()
      }
    } catch (error) {
      this.#onError(error)
      this.#tryAgain()
    }
  }

  #tryAgain() {
    clearTimeout(this.#timer)
    if (!this.#stopped) this.#timer = setTimeout(() => void this.runOnce(), AGAIN_MS).unref()
  }
}
