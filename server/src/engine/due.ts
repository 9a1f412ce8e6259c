const AGAIN_MS = 1_000
/** Beyond this a Node timer overflows; the next look comes much earlier anyway. */
const LONGEST_MS = 86_400_000

/** What a step leaves: whether there is more to do now, and milliseconds until there is something (null: nothing that is known). */
export interface Left {
  more: boolean
  nextMs: number | null
}

/**
 * Work that the database knows the time of: what is scheduled becomes due, a bucket gets its next token, a session expires. One timer,
 * set to the earliest moment that is known; nobody asks in between.
 */
export class Due {
  readonly #step: () => Promise<Left>
  readonly #onError: (error: unknown) => void
  readonly #againMs: number
  #timer: NodeJS.Timeout | undefined
  #dueAt = Number.POSITIVE_INFINITY
  #busy: Promise<void> | undefined
  #again = false
  #stopped = false

  /** `againMs`: wait after a step that failed. */
  constructor(step: () => Promise<Left>, onError: (error: unknown) => void, { againMs = AGAIN_MS }: { againMs?: number } = {}) {
    this.#step = step
    this.#onError = onError
    this.#againMs = againMs
  }

  /** There is something to do in this many milliseconds. */
  expect(delayMs: number): void {
    const dueAt = performance.now() + Math.max(0, delayMs)
    if (dueAt >= this.#dueAt || this.#stopped) return
    clearTimeout(this.#timer)
    this.#dueAt = dueAt
    this.#timer = setTimeout(() => void this.runOnce(), Math.min(Math.max(0, Math.ceil(delayMs)), LONGEST_MS)).unref()
  }

  /** Does all there is to do now and sets the timer to what is next. Never rejects. */
  runOnce(): Promise<void> {
    // The step on its way may have looked before what this call is about was there.
    this.#again = true
    return (this.#busy ??= this.#runAll().finally(() => {
      this.#busy = undefined
      // Called just when the last step had been answered.
      if (this.#again && !this.#stopped) void this.runOnce()
    }))
  }

  /** No further step. Resolves when the one on its way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#busy
  }

  async #runAll() {
    try {
      while (!this.#stopped) {
        this.#again = false
        clearTimeout(this.#timer)
        this.#dueAt = Number.POSITIVE_INFINITY
        const { more, nextMs } = await this.#step()
        if (more || this.#again) continue
        if (nextMs !== null) this.expect(nextMs)
        return
      }
    } catch (error) {
      this.#onError(error)
      this.#again = false
      this.expect(this.#againMs)
    }
  }
}
