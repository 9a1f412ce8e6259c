import type { Launch, Launched } from './launch.js'
import type { Ending, Exit } from './process-group.js'
import { ProcessSignals } from './process-signals.js'

/** What a zygote that was asked for a process has to do with it. */
export interface Order {
  /** Resolves when all of its output has come. */
  closed: Promise<void>
  release: () => void
  /** Writes on the socket of its result. */
  answer: (line: string) => void
  /** The zygote does not answer. */
  stuck: () => void
}

/** How long a zygote may take to answer when a run is to be killed at once. */
const STUCK_MS = 1_000

/** A process of one run that a zygote has forked, or is about to. */
export class ForkedProcess implements Launched {
  readonly launch: Launch
  readonly ended: Promise<Ending>
  readonly #signals = new ProcessSignals()
  #end: (ending: Ending) => void = () => {}
  #pid: number | undefined
  /** What it is owed as soon as it exists. */
  #due: { kill: true } | { graceMs: number } | undefined
  /** Set once a zygote has been asked for it; from then on there may be a process. */
  #order: Order | undefined
  #stuckTimer: NodeJS.Timeout | undefined

  constructor(launch: Launch) {
    this.launch = launch
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  get closed(): Promise<void> {
    return this.#order?.closed ?? new Promise(() => {})
  }

  /** A zygote has been asked for it. */
  ordered(order: Order): void {
    this.#order = order
  }

  forked(pid: number): void {
    clearTimeout(this.#stuckTimer)
    this.#pid = pid
    this.#signals.started(pid)
    if (this.#due === undefined) return
    if ('kill' in this.#due) this.kill()
    else this.terminate(this.#due.graceMs)
  }

  /** `left`: others are still in its group. */
  exited(exit: Exit, left: boolean): void {
    clearTimeout(this.#stuckTimer)
    if (!left) this.#signals.emptied()
    this.#end({ exit })
  }

  failed(failure: Error): void {
    this.#end({ failure })
  }

  terminate(graceMs: number): void {
    if (this.#pid === undefined) this.#owe({ graceMs }, graceMs)
    else this.#signals.terminate(graceMs)
  }

  kill(): void {
    if (this.#pid === undefined) this.#owe({ kill: true }, STUCK_MS)
    else this.#signals.kill()
  }

  answer(line: string): void {
    this.#order?.answer(line)
  }

  clear(): Promise<number[]> {
    return this.#signals.clear()
  }

  release(): void {
    this.#order?.release()
  }

  /** There is no process yet. A zygote that does not come up with one, nor with an answer, will not do so any more. */
  #owe(due: { kill: true } | { graceMs: number }, patienceMs: number): void {
    if (!this.#order) return this.failed(new Error('It was stopped before there was a process'))
    if (this.#due === undefined || 'kill' in due) this.#due = due
    this.#stuckTimer ??= setTimeout(this.#order.stuck, patienceMs)
  }
}
