import { HEAD } from '../runs/lease.js'

const KEPT_MS = 1_000

/**
 * Where in each queue the ready runs begin, as far as is known. What was leased leaves dead index entries behind until a vacuum
 * takes them, which somebody's old snapshot can put off for hours; a lease that begins at the head of the queue walks over all of
 * them. A mark is good for a second: a run that comes in front of the others may wait that much longer while a backlog is worked off.
 */
export class Watermarks {
  readonly #now: () => number
  readonly #marks = new Map<string, { key: string; until: number }>()

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** From which claim key on to look, for each of these queues. */
  of(queues: readonly string[]): string[] {
    const now = this.#now()
    return queues.map((queue) => {
      const mark = this.#marks.get(queue)
      if (mark && mark.until > now) return mark.key
      this.#marks.delete(queue)
      return HEAD
    })
  }

  /** Nothing ready is left before the key in each of these queues. */
  reached(keys: ReadonlyMap<string, string>): void {
    const until = this.#now() + KEPT_MS
    // The second counts from the last look at the head.
    for (const [queue, key] of keys) this.#marks.set(queue, { key, until: this.#marks.get(queue)?.until ?? until })
  }

  /** Looks at the head of these queues next time. Returns whether that is something new. */
  forget(queues: readonly string[]): boolean {
    return queues.filter((queue) => this.#marks.delete(queue)).length > 0
  }
}
