import { EventEmitter } from 'node:events'
import { InvalidOption, type ReproqError } from '../../../sdk-ts/src/errors.js'
import { Stop } from './executor.js'
import { Lessee } from './lessee.js'
import type { WorkerEventMap } from './worker-events.js'
import { identityOf, settingsOf, type WorkerOptions, type WorkerSettings } from './worker-options.js'

export { InProcessExecutor, type InProcessOptions } from './in-process.js'
export { LoopExecutor, type LoopExecutorOptions } from './loop.js'
export { OneShotExecutor, type OneShotOptions } from './one-shot.js'
export type { Progress } from './progress.js'
export { ZygoteExecutor, type ZygoteExecutorOptions } from './zygote.js'
export { Stop, type Assignment, type Executor, type Settlement, type StopReason } from './executor.js'
export { WorkerRefused } from './worker-errors.js'
export type { RunFacts, WorkerEventMap } from './worker-events.js'
export type { WorkerOptions } from './worker-options.js'

/** Waits at the end: for code that was told to stop (beyond its grace), for results to be stored, for the broker's goodbye. */
const STUBBORN_MS = 2_000
const CONFIRM_MS = 10_000
const BYE_MS = 5_000
/** Each of them when `stop` was called. */
const HURRIED_MS = 1_000

/**
 * Leases runs from a broker and has executors run them, until it is drained or stopped. Connects again by itself.
 *
 * A task that no executor serves is answered at once: with executors of other processes, which have allow-lists, the run
 * fails for good (`SecurityViolation`); when there are only tasks of this process it is an `UnknownTask`, tried again.
 */
export class Worker extends EventEmitter<WorkerEventMap> {
  readonly name: string
  readonly #settings: WorkerSettings
  readonly #lessee: Lessee
  readonly #hurry = new AbortController()
  #isStarted = false
  #isWelcomed = false
  #isOver = false
  #failure: ReproqError | undefined
  #ending: Promise<void> | undefined

  /** `now` is for tests: milliseconds of a monotonic clock. Throws InvalidOption. */
  constructor(options: WorkerOptions, now: () => number = () => performance.now()) {
    super()
    this.#settings = settingsOf(options)
    this.name = this.#settings.name
    this.#lessee = new Lessee({
      ...this.#settings,
      identity: identityOf(this.#settings),
      now,
      tell: (name, data) => this.#tell(name, data),
      failed: (error) => this.#failed(error),
      retired: (graceMs) => {
        this.#settings.log.warn(`Told to leave by the broker${graceMs === 0 ? ', at once' : ''}`)
        void (graceMs === 0 ? this.stop() : this.drain())
      },
    })
  }

  /** Connects. Resolves with the first welcome; rejects with WorkerRefused, or BrokerUnreachable when `retry` is false. */
  async start(): Promise<this> {
    if (this.#isStarted) throw new InvalidOption('This worker was started before', 'make a new one')
    this.#isStarted = true
    this.#lessee.start()
    await this.#lessee.changes.until(() => this.#lessee.isConnected || this.#failure !== undefined || this.#ending !== undefined, FOREVER_MS)
    if (this.#failure) throw this.#failure
    this.#isWelcomed = true
    return this
  }

  /** Resolves when it has ended by `drain` or `stop`; rejects with WorkerRefused when a broker turned it away. */
  async closed(): Promise<void> {
    await this.#lessee.changes.until(() => this.#isOver, FOREVER_MS)
    if (this.#failure) throw this.#failure
  }

  /** Takes no more runs, finishes what runs (at most `drainMs`), waits until the results are stored, and leaves. */
  drain(): Promise<void> {
    this.#ending ??= this.#end()
    return this.#ending
  }

  /** Leaves at once: what runs is killed and given back, at no cost for the runs. Also cuts a drain short. */
  stop(): Promise<void> {
    this.#hurry.abort()
    return this.drain()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.drain()
  }

  async #end(): Promise<void> {
    const { changes } = this.#lessee
    const hurry = this.#hurry.signal
    this.#lessee.drain(hurry.aborted ? 0 : this.#settings.drainMs)
    changes.happened()
    await changes.until(() => !this.#lessee.isBusy, this.#settings.drainMs, hurry)
    await this.#stopRunning()
    const isConfirmed = () => !this.#lessee.isHolding || (hurry.aborted && !this.#lessee.isConnected)
    if (!(await changes.until(isConfirmed, CONFIRM_MS, hurry)) && !(await changes.until(isConfirmed, HURRIED_MS))) {
      this.#settings.log.warn('The broker has not confirmed everything; what it does not know will be run again')
    }
    await this.#lessee.leave('drained', hurry.aborted ? HURRIED_MS : BYE_MS)
    await this.#over()
  }

  /** Softly first, and what does not end in its grace is killed; at once in a hurry. */
  async #stopRunning(): Promise<void> {
    const { changes } = this.#lessee
    const isIdle = () => !this.#lessee.isBusy
    const graceMs = this.#lessee.longestGraceMs
    this.#lessee.stopRunning(new Stop('shutdown', this.#hurry.signal.aborted))
    if (await changes.until(isIdle, graceMs + STUBBORN_MS, this.#hurry.signal)) return
    await this.#stopExecutors()
    await changes.until(isIdle, HURRIED_MS)
  }

  #failed(error: ReproqError) {
    this.#failure = error
    // Before the first welcome `start` says it.
    if (this.#isWelcomed) this.#settings.log.error(error.message, error.hint === undefined ? {} : { hint: error.hint })
    this.#tell('failed', () => error)
    void this.#over()
  }

  async #over(): Promise<void> {
    await this.#stopExecutors()
    this.#isOver = true
    this.#lessee.changes.happened()
  }

  async #stopExecutors(): Promise<void> {
    for (const stopped of await Promise.allSettled(this.#settings.executors.map((executor) => executor.stop()))) {
      if (stopped.status === 'rejected') this.#settings.log.error('An executor could not be stopped', { reason: String(stopped.reason) })
    }
  }

  /** What a listener throws is its own affair: the leases must not suffer from it. */
  #tell<Name extends keyof WorkerEventMap>(name: Name, data?: () => WorkerEventMap[Name][number]) {
    if (this.listenerCount(name) === 0) return
    try {
      // The typed emitter cannot follow a generic name.
      EventEmitter.prototype.emit.call(this, name, data?.())
    } catch (error) {
      this.#settings.log.error(`A listener for ${name} failed`, { reason: String(error) })
    }
  }
}

/** A worker that a broker has welcomed. Rejects as `start` does. */
export function createWorker(options: WorkerOptions): Promise<Worker> {
  return new Worker(options).start()
}

const FOREVER_MS = Number.POSITIVE_INFINITY
