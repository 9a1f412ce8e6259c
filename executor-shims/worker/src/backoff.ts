const FIRST_MS = 250
const LONGEST_MS = 30_000

/** How long to wait before something that failed is tried again: longer with every failure in a row. */
export class Backoff {
  #failures = 0
  #until = 0

  failed(): void {
    this.#until = performance.now() + Math.min(FIRST_MS * 2 ** this.#failures, LONGEST_MS)
    this.#failures++
  }

  worked(): void {
    this.#failures = 0
    this.#until = 0
  }

  /** What is left to wait. */
  get ms(): number {
    return Math.max(0, this.#until - performance.now())
  }
}
