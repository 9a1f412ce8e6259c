const AGAIN_MS = 1_000
/** Beyond this a Node timer overflows; the next look comes much earlier anyway. */
const LONGEST_MS = 86_400_000

/** A step on the way to ready: queues that got runs, whether there is more to do now, and milliseconds until there is (null: none waits). */
export type Step = () => Promise<{ queues: string[]; more: boolean; nextMs: number | null }>

/**
 * Makes waiting runs ready when they may be: one timer, set to the earliest. There is one for those that are not due, and one for
 * those that a key or a rate limit has blocked.
 */
export class Promoter {
  readonly #step: Step
  readonly #onReady: (queue: string) => void
  readonly #onError: (error: unknown) => void
  #timer: NodeJS.Timeout | undefined
  #dueAt = Number.POSITIVE_INFINITY
  #busy: Promise<void> | undefined
  #again = false
  #stopped = false

  constructor(step: Step, onReady: (queue: string) => void, onError: (error: unknown) => void) {
    this.#step = step
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

  /** Promotes all that may be ready now and sets the timer to what is next. Never rejects. */
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
        const { queues, more, nextMs } = await this.#step()
        for (const queue of queues) this.#onReady(queue)
        if (!more && !this.#again) {
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
