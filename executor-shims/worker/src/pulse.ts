import { TrustWindow, type LeaseTerms } from './deadline.js'

export interface PulseOptions {
  /** Milliseconds, monotonic. */
  now: () => number
  /** Sends heartbeat `n`. */
  beat(n: number): void
  /** The deadline has passed: from now on nothing held can be trusted, and what runs has to be dead in `marginMs`. */
  lost(marginMs: number): void
  /** The broker has confirmed again that the session lives. */
  regained(): void
}

/** Heartbeats out, trust in. They have their own timer, so that no load of work or results delays them. */
export class Pulse {
  readonly #options: PulseOptions
  readonly #trust = new TrustWindow()
  #beating: NodeJS.Timeout | undefined
  #deadline: NodeJS.Timeout | undefined
  #beats = 0
  #isTrusted = false

  constructor(options: PulseOptions) {
    this.#options = options
  }

  /** Looks at the clock, so that a process that was stopped knows it before it starts or sends anything. */
  check(): boolean {
    if (this.#isTrusted && this.#trust.isOver(this.#options.now())) {
      this.#isTrusted = false
      this.#options.lost(this.#trust.marginMs)
    }
    return this.#isTrusted
  }

  welcomed(helloSentAt: number, heartbeatMs: number, terms: LeaseTerms): void {
    // If the old deadline passed while nobody looked, what runs is to be stopped even though it may be kept.
    this.check()
    this.#trust.welcomed(helloSentAt, terms)
    this.#judge()
    clearInterval(this.#beating)
    this.#beating = setInterval(() => this.#beat(), heartbeatMs)
  }

  acknowledged(n: number, ok: boolean): void {
    this.check()
    this.#trust.acknowledged(n, ok)
    this.#judge()
  }

  dropped(at: number): void {
    clearInterval(this.#beating)
    this.#trust.dropped(at)
    this.#judge()
  }

  stop(): void {
    clearInterval(this.#beating)
    clearTimeout(this.#deadline)
  }

  #beat() {
    this.check()
    this.#trust.beat(++this.#beats, this.#options.now())
    this.#options.beat(this.#beats)
  }

  /** The deadline has moved. */
  #judge() {
    clearTimeout(this.#deadline)
    const left = this.#trust.deadline - this.#options.now()
    if (left <= 0) return void this.check()
    this.#deadline = setTimeout(() => this.#judge(), left)
    if (this.#isTrusted) return
    this.#isTrusted = true
    this.#options.regained()
  }
}
