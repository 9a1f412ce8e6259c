import type { Subscription, WorkerFrameOf } from '../../../protocol/src/index.js'

export interface IntakeOptions {
  lanes: readonly Subscription[]
  /** Milliseconds, monotonic. */
  now: () => number
  send(frame: WorkerFrameOf['subs'] | WorkerFrameOf['drain']): void
}

/** How many runs this process asks for: its lanes, or nothing while it drains or owes too many results. */
export class Intake {
  readonly #options: IntakeOptions
  /** `hello` counts as version 1. */
  #version = 1
  #isPaused = false
  #drainUntil: number | undefined

  constructor(options: IntakeOptions) {
    this.#options = options
  }

  get isDraining(): boolean {
    return this.#drainUntil !== undefined
  }

  lanes(): Subscription[] {
    const isClosed = this.#isPaused || this.isDraining
    return this.#options.lanes.map(({ queues, window }) => ({ queues, window: isClosed ? 0 : window }))
  }

  /** No more runs, ever; what runs goes on for `ms`. */
  drain(ms: number): void {
    this.#drainUntil = this.#options.now() + ms
    this.#sendDrain()
  }

  /** A new link does not know that we drain. */
  welcomed(): void {
    if (this.isDraining) this.#sendDrain()
  }

  /** Pauses when results pile up, goes on when there is room. Returns what it did, if anything. */
  adjust({ isFull, isRoomy }: { isFull: boolean; isRoomy: boolean }): 'paused' | 'resumed' | undefined {
    const next = isFull || (this.#isPaused && !isRoomy)
    if (next === this.#isPaused) return undefined
    this.#isPaused = next
    this.#options.send({ t: 'subs', v: ++this.#version, items: this.lanes() })
    return next ? 'paused' : 'resumed'
  }

  #sendDrain() {
    this.#options.send({ t: 'drain', deadline_ms: Math.max(0, Math.round((this.#drainUntil ?? 0) - this.#options.now())) })
  }
}
