import type { Subscription } from '../../../protocol/src/index.js'
import type { TaskLog } from '../../../sdk-ts/src/define-task.js'
import type { Executor, Settlement } from './executor.js'
import { NOT_STARTED } from './start-advice.js'

export interface OutagesOptions {
  executors: readonly Executor[]
  /** Milliseconds, monotonic. */
  now: () => number
  log: TaskLog
  /** What `open` says is different now. */
  changed(): void
}

/** So many failures to start in a row are no accident. Each of them has cost a run an attempt. */
const FAILURES = 3
const FIRST_MS = 1_000
const LONGEST_MS = 60_000

interface Record {
  failures: number
  /** When it is tried again (0: now); undefined: it works, as far as is known. */
  triedAt: number | undefined
  timer?: NodeJS.Timeout
}

/**
 * Executors that cannot be started (a missing interpreter, a module that does not import). Runs that only they could run are
 * left to other workers: nothing is asked for, then one run to try it with, then everything again.
 */
export class Outages {
  readonly #options: OutagesOptions
  readonly #records = new Map<Executor, Record>()

  constructor(options: OutagesOptions) {
    this.#options = options
  }

  /** Whether anything is known against an executor. */
  get isAny(): boolean {
    return this.#records.size > 0
  }

  /** An attempt in this executor has ended. */
  settled(executor: Executor, settlement: Settlement): void {
    if (settlement.error?.class === NOT_STARTED) this.#failed(executor, settlement.error.message)
    // A stop says nothing about the executor: the run may have been waiting for it.
    else if (settlement.outcome !== 'cancelled' && settlement.outcome !== 'timeout') this.#worked(executor)
  }

  /** How long nothing should be given to this executor; 0: it works, or is to be tried. */
  leftMs(executor: Executor): number {
    const { triedAt = 0 } = this.#records.get(executor) ?? {}
    return Math.max(0, triedAt - this.#options.now())
  }

  /** What is left of a lane without the queues that only broken executors take from. */
  open({ queues, window }: Subscription): Subscription {
    if (!this.isAny) return { queues, window }
    const open = queues.filter((queue) => this.isOpen(queue))
    if (open.length === 0) return { queues, window: 0 }
    return { queues: open, window: open.some((queue) => this.#isSure(queue)) ? window : Math.min(window, 1) }
  }

  isOpen(queue: string): boolean {
    return this.#takersOf(queue).some((executor) => this.leftMs(executor) === 0)
  }

  stop(): void {
    for (const { timer } of this.#records.values()) clearTimeout(timer)
    this.#records.clear()
  }

  #isSure(queue: string): boolean {
    return this.#takersOf(queue).some((executor) => this.#records.get(executor)?.triedAt === undefined)
  }

  #takersOf(queue: string): Executor[] {
    return this.#options.executors.filter((executor) => executor.takesFrom?.(queue) ?? true)
  }

  #failed(executor: Executor, message: string): void {
    const record = this.#records.get(executor) ?? { failures: 0, triedAt: undefined }
    this.#records.set(executor, record)
    record.failures++
    if (record.failures < FAILURES) return
    const waitMs = Math.min(FIRST_MS * 2 ** (record.failures - FAILURES), LONGEST_MS)
    record.triedAt = this.#options.now() + waitMs
    this.#options.log.error(`The executor ${executor.name} could not be started ${record.failures} times in a row; its runs are left to other workers, and it is tried again in ${waitMs / 1_000} s`, { reason: message })
    clearTimeout(record.timer)
    record.timer = setTimeout(() => {
      // By the clock it may be a moment early, and nobody would look again.
      record.triedAt = 0
      this.#options.changed()
    }, waitMs)
    this.#options.changed()
  }

  #worked(executor: Executor): void {
    const record = this.#records.get(executor)
    if (!record) return
    clearTimeout(record.timer)
    this.#records.delete(executor)
    if (record.triedAt === undefined) return
    this.#options.log.info(`The executor ${executor.name} works again`)
    this.#options.changed()
  }
}
