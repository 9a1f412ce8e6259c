import type { Launch, Launched } from './launch.js'
import type { Ending, Exit } from './process-group.js'
import { ProcessSignals } from './process-signals.js'

/** A process of one run that a zygote has forked, or is about to. */
export class ForkedProcess implements Launched {
  readonly launch: Launch
  readonly ended: Promise<Ending>
  readonly #signals = new ProcessSignals()
  #end: (ending: Ending) => void = () => {}
  #closed: Promise<void> = new Promise(() => {})
  #release: () => void = () => {}
  #pid: number | undefined
  /** What it is owed as soon as it exists. */
  #due: { kill: true } | { graceMs: number } | undefined
  #isOrdered = false

  constructor(launch: Launch) {
    this.launch = launch
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  get closed(): Promise<void> {
    return this.#closed
  }

  /** A zygote has been asked for it; from now on there may be a process. */
  ordered({ closed, release }: { closed: Promise<void>; release: () => void }): void {
    this.#isOrdered = true
    this.#closed = closed
    this.#release = release
  }

  forked(pid: number): void {
    this.#pid = pid
    this.#signals.started(pid)
    if (this.#due === undefined) return
    if ('kill' in this.#due) this.kill()
    else this.terminate(this.#due.graceMs)
  }

  /** `left`: others are still in its group. */
  exited(exit: Exit, left: boolean): void {
    if (!left) this.#signals.emptied()
    this.#end({ exit })
  }

  failed(failure: Error): void {
    this.#end({ failure })
  }

  terminate(graceMs: number): void {
    if (!this.#isOrdered) this.failed(new Error('It was stopped before there was a process'))
    else if (this.#pid === undefined) this.#due ??= { graceMs }
    else this.#signals.terminate(graceMs)
  }

  kill(): void {
    if (!this.#isOrdered) this.failed(new Error('It was stopped before there was a process'))
    else if (this.#pid === undefined) this.#due = { kill: true }
    else this.#signals.kill()
  }

  clear(): Promise<number[]> {
    return this.#signals.clear()
  }

  release(): void {
    this.#release()
  }
}
