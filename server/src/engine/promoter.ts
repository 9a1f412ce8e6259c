import type { Db } from '../db/pool.js'
import { promote } from '../runs/promote.js'

const BATCH = 1_000
const AGAIN_MS = 1_000
/** Beyond this a Node timer overflows; the next look comes much earlier anyway. */
const LONGEST_MS = 86_400_000

/** Makes scheduled runs ready when they are due: one timer, set to the earliest. */
export class Promoter {
  readonly #db: Db
  readonly #onReady: (queue: string) => void
  readonly #onError: (error: unknown) => void
  #timer: NodeJS.Timeout | undefined
  #dueAt = Number.POSITIVE_INFINITY
  #busy: Promise<void> | undefined
  #again = false
  #stopped = false

  constructor(db: Db, onReady: (queue: string) => void, onError: (error: unknown) => void) {
    this.#db = db
    this.#onReady = onReady
    this.#onError = onError
  }

  /** A run becomes due in this many milliseconds. */
  expect(delayMs: number): void {
    const dueAt = performance.now() + Math.max(0, delayMs)
    if (dueAt >= this.#dueAt || this.#stopped) return
    clearTimeout(this.#timer)
    this.#dueAt = dueAt
    this.#timer = setTimeout(() => void this.runOnce(), Math.min(Math.max(0, delayMs), LONGEST_MS)).unref()
  }

  /** Promotes all that is due and sets the timer to what is next. Never rejects. */
  runOnce(): Promise<void> {
    // The statement on its way may have looked before what this call is about was there.
    this.#again = true
    return (this.#busy ??= this.#promoteAll().finally(() => (this.#busy = undefined)))
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  async #promoteAll() {
    try {
      for (;;) {
        this.#again = false
        clearTimeout(this.#timer)
        this.#dueAt = Number.POSITIVE_INFINITY
        const { queues, promoted, nextMs } = await promote(this.#db, BATCH)
        for (const queue of queues) this.#onReady(queue)
        if (promoted < BATCH && !this.#again) {
          if (nextMs !== null) this.expect(nextMs)
          return
        }
      }
    } catch (error) {
      this.#onError(error)
      this.expect(AGAIN_MS)
    }
  }
}
