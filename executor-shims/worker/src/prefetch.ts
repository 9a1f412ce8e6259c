export interface PrefetchOptions {
  /** Runs at the same time. */
  concurrency: number
  /** The most beyond those; 0: the window was set by hand. */
  most: number
  /** Milliseconds, monotonic. */
  now: () => number
  /** `extra` is different now: the broker is told before anything is shed, or it would send that straight back. */
  changed(): void
  /** Whether runs wait for a slot. */
  isWaiting(): boolean
  /** What waits beyond `extra` is better off elsewhere. */
  shed(): void
}

/** What is held beyond the slots is what they do in about this time: longer than it takes to be sent more, and nothing next to a wait in the queue. */
const IN_HAND_MS = 50
/** Weight of one run in the mean. */
const WEIGHT = 1 / 16
/** So often it is looked at what waits; when nothing has ended for so long, all of it is too much. */
const LOOK_MS = 500

/**
 * How many runs a worker asks for beyond its slots, by how long its runs have taken: none when they are long, so that nobody
 * waits here while another worker is free; more the shorter they are, so that slots do not wait for the broker. What waits
 * beyond that is shed once in a while, and not each time a run was long: what is behind it is mostly short again.
 */
export class Prefetch {
  readonly #options: PrefetchOptions
  #meanMs: number | undefined
  #extra = 0
  /** The last moment something ended, or began to wait with nothing else waiting. */
  #movedAt = 0
  #timer: NodeJS.Timeout | undefined

  constructor(options: PrefetchOptions) {
    this.#options = options
  }

  get extra(): number {
    return this.#extra
  }

  /** A run has had a slot for so long. */
  ended(wallMs: number): void {
    this.#movedAt = this.#options.now()
    this.#learn(this.#meanMs === undefined ? wallMs : this.#meanMs + (wallMs - this.#meanMs) * WEIGHT)
  }

  /** Runs may be waiting for a slot. */
  watch(): void {
    if (this.#timer || this.#options.most === 0) return
    this.#movedAt = this.#options.now()
    this.#lookIn(LOOK_MS)
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #lookIn(ms: number): void {
    this.#timer = setTimeout(() => this.#look(), ms)
  }

  /** One timer for all runs, while any waits. */
  #look(): void {
    this.#timer = undefined
    if (!this.#options.isWaiting()) return
    const stillMs = this.#options.now() - this.#movedAt
    const isStalled = stillMs >= LOOK_MS
    // Of all slots not one became free: at such a pace nothing is asked for, until many runs were short again.
    if (isStalled) this.#learn(Math.max(this.#meanMs ?? 0, this.#options.concurrency * LOOK_MS))
    this.#options.shed()
    this.#lookIn(isStalled ? LOOK_MS : LOOK_MS - stillMs)
  }

  #learn(meanMs: number): void {
    this.#meanMs = meanMs
    const { concurrency, most } = this.#options
    const fits = Math.min(most, (concurrency * IN_HAND_MS) / meanMs)
    // In powers of two with some play, so that the broker is not told about every run.
    if (fits < this.#extra * 2 && fits >= this.#extra / 2) return
    const extra = fits < 1 ? 0 : 2 ** Math.floor(Math.log2(fits))
    if (extra === this.#extra) return
    this.#extra = extra
    this.#options.changed()
  }
}
