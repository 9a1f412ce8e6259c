/** Durations the broker gives with its welcome. */
export interface LeaseTerms {
  leaseMs: number
  /** How long before the lease ends the worker stops trusting it, so that its executors are dead by then. */
  safetyMs: number
  /** How long the broker waits for a worker whose socket dropped. */
  reconnectMs: number
}

/**
 * Until when this process may believe that its leases are its own, by its own monotonic clock and without asking anyone.
 *
 * The broker renews when it has read a heartbeat, which is after the heartbeat was sent: counted from the sending, the
 * worker's deadline always comes before the broker's. Pure: every method takes the time.
 */
export class TrustWindow {
  #terms: LeaseTerms = { leaseMs: 0, safetyMs: 0, reconnectMs: 0 }
  #deadline = Number.NEGATIVE_INFINITY
  /** Heartbeats without an answer: number → when sent. Insertion order is order of numbers. */
  readonly #unanswered = new Map<number, number>()

  /** No start and no result at or after this moment. */
  get deadline(): number {
    return this.#deadline
  }

  /** How long before the lease ends the deadline is: the time to stop what runs. */
  get marginMs(): number {
    return this.#terms.leaseMs - trustMs(this.#terms)
  }

  isOver(now: number): boolean {
    return now >= this.#deadline
  }

  welcomed(helloSentAt: number, terms: LeaseTerms): void {
    this.#terms = terms
    this.#unanswered.clear()
    this.#deadline = helloSentAt + trustMs(terms)
  }

  beat(n: number, sentAt: number): void {
    this.#unanswered.set(n, sentAt)
  }

  /** `ok` false: the broker is there and could not write it down, so the old deadline stands. */
  acknowledged(n: number, ok: boolean): void {
    const sentAt = this.#unanswered.get(n)
    if (sentAt === undefined) return
    for (const earlier of this.#unanswered.keys()) if (earlier <= n) this.#unanswered.delete(earlier)
    if (ok) this.#deadline = Math.max(this.#deadline, sentAt + trustMs(this.#terms))
  }

  dropped(at: number): void {
    this.#unanswered.clear()
    this.#deadline = Math.min(this.#deadline, at + this.#terms.reconnectMs)
  }
}

/** A safety margin as long as the lease would leave no time to work: then a quarter of the lease is kept as margin. */
export function trustMs({ leaseMs, safetyMs }: LeaseTerms): number {
  return leaseMs - (safetyMs >= leaseMs ? leaseMs / 4 : safetyMs)
}
