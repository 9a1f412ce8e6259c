import { nowUs } from '../machine/clock.js'

/** How many tasks were started, when, and how long after they were due. */
export class Count {
  delays: number[] = []
  #total = 0
  #mark = 1
  #markedUs = 0
  #wanted: { total: number; reached: () => void } | undefined

  ran(dueUs: number): void {
    const now = nowUs()
    if (++this.#total === this.#mark) this.#markedUs = now
    this.delays.push(now - dueUs)
    if (this.#wanted && this.#total >= this.#wanted.total) this.#wanted.reached()
  }

  /** Begins again. The time of the `mark`th start will be remembered. */
  forget(mark = 1): void {
    this.delays = []
    this.#total = 0
    this.#mark = mark
    this.#wanted = undefined
  }

  async until(total: number): Promise<{ markedUs: number; reachedUs: number }> {
    if (this.#total < total) await new Promise<void>((reached) => (this.#wanted = { total, reached }))
    return { markedUs: this.#markedUs, reachedUs: nowUs() }
  }
}
