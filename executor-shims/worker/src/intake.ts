import type { Subscription, WorkerFrameOf } from '../../../protocol/src/index.js'

export interface IntakeOptions {
  lanes: readonly Subscription[]
  /** Milliseconds, monotonic. */
  now: () => number
  /** False: no link is open. */
  send(frame: WorkerFrameOf['subs'] | WorkerFrameOf['drain']): boolean
  /** What is left of a lane while executors are broken. Default: all of it. */
  open(lane: Subscription): Subscription
}

/** How many runs this process asks for: its lanes, or nothing while it drains, owes too many results, or has a run that must be alone. */
export class Intake {
  readonly #options: IntakeOptions
  /** `hello` counts as version 1. */
  #version = 1
  #isPaused = false
  #isAlone = false
  #drainUntil: number | undefined
  /** What the broker was last told, as text. */
  #told: string

  constructor(options: IntakeOptions) {
    this.#options = options
    this.#told = JSON.stringify(this.#lanes())
  }

  get isDraining(): boolean {
    return this.#drainUntil !== undefined
  }

  get isAlone(): boolean {
    return this.#isAlone
  }

  /** For `hello`. */
  lanes(): Subscription[] {
    const lanes = this.#lanes()
    this.#told = JSON.stringify(lanes)
    return lanes
  }

  /** No more runs, ever; what runs goes on for `ms`. */
  drain(ms: number): void {
    this.#drainUntil = this.#options.now() + ms
    this.#sendDrain()
  }

  /** A new link does not know that we drain, nor what changed since the hello. */
  welcomed(): void {
    if (this.isDraining) this.#sendDrain()
    else this.refresh()
  }

  /** Pauses when results pile up, goes on when there is room. Returns what it did, if anything. */
  adjust({ isFull, isRoomy }: { isFull: boolean; isRoomy: boolean }): 'paused' | 'resumed' | undefined {
    const next = isFull || (this.#isPaused && !isRoomy)
    if (next === this.#isPaused) return undefined
    this.#isPaused = next
    this.refresh()
    return next ? 'paused' : 'resumed'
  }

  /** A run is to have this worker for itself, or had. */
  alone(isAlone: boolean): void {
    if (isAlone === this.#isAlone) return
    this.#isAlone = isAlone
    this.refresh()
  }

  /** Says what is asked for now, if that is different. After `drain` the broker sends nothing more anyway. */
  refresh(): void {
    if (this.isDraining) return
    const items = this.#lanes()
    const told = JSON.stringify(items)
    if (told === this.#told) return
    if (this.#options.send({ t: 'subs', v: this.#version + 1, items })) {
      this.#version++
      this.#told = told
    }
  }

  #lanes(): Subscription[] {
    const isClosed = this.#isPaused || this.#isAlone || this.isDraining
    return this.#options.lanes.map((lane) => {
      const { queues, window } = this.#options.open(lane)
      return { queues: [...queues], window: isClosed ? 0 : window }
    })
  }

  #sendDrain() {
    this.#options.send({ t: 'drain', deadline_ms: Math.max(0, Math.round((this.#drainUntil ?? 0) - this.#options.now())) })
  }
}
