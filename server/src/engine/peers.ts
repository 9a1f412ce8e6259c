/**
 * Other brokers of this database. A run that becomes ready here, when no worker here has room for it, is told to them; with
 * no other broker alive nothing is said, because a notification costs every writer of the database (it takes a lock across
 * the commit's flush). One is under way per queue at most.
 */
export class Peers {
  readonly #tell: (queue: string) => Promise<void>
  readonly #aliveMs: number
  readonly #onError: (error: unknown) => void
  readonly #heardAt = new Map<string, number>()
  readonly #telling = new Set<string>()

  /** A broker counts as alive for `aliveMs` after it was heard. */
  constructor(tell: (queue: string) => Promise<void>, aliveMs: number, onError: (error: unknown) => void) {
    this.#tell = tell
    this.#aliveMs = aliveMs
    this.#onError = onError
  }

  /** Whether it is one we did not know, who may not know us either. */
  heard(brokerId: string): boolean {
    const isNew = !this.#heardAt.has(brokerId)
    this.#heardAt.set(brokerId, performance.now())
    return isNew
  }

  /** A queue has ready runs that nobody here has room for. */
  hint(queue: string): void {
    if (this.#telling.has(queue) || !this.#anyAlive()) return
    this.#telling.add(queue)
    // What is enqueued while it is under way is found with it: whoever hears looks until the queue is empty.
    this.#tell(queue)
      .catch(this.#onError)
      .finally(() => this.#telling.delete(queue))
  }

  #anyAlive(): boolean {
    const since = performance.now() - this.#aliveMs
    for (const [brokerId, at] of this.#heardAt) if (at < since) this.#heardAt.delete(brokerId)
    return this.#heardAt.size > 0
  }
}
