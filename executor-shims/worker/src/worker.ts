import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import { hostname } from 'node:os'
import { CAPABILITIES, type Subscription } from '../../../protocol/src/index.js'
import type { TaskLog } from '../../../sdk-ts/src/define-task.js'
import { InvalidOption, type ReproqError } from '../../../sdk-ts/src/errors.js'
import { Stop, type Executor } from './executor.js'
import { Lessee } from './lessee.js'
import { warningsToStandardError } from './worker-log.js'
import type { WorkerEventMap } from './worker-events.js'

export { InProcessExecutor, type InProcessOptions } from './in-process.js'
export { OneShotExecutor, type OneShotOptions } from './one-shot.js'
export { Stop, type Assignment, type Executor, type Settlement, type StopReason } from './executor.js'
export { WorkerRefused } from './worker-errors.js'
export type { RunFacts, WorkerEventMap } from './worker-events.js'

export interface WorkerOptions {
  /** Broker: http(s) or ws(s). Or several of one Postgres; one at a time is used. */
  url?: string
  urls?: readonly string[]
  token?: string
  /** Default: ["default"]. */
  queues?: readonly string[]
  /** Instead of `queues`: sets of queues, each with its own number of leases. */
  lanes?: readonly Subscription[]
  /** Runs at the same time. Default: 10, or with `lanes` the sum of their windows. */
  concurrency?: number
  /** Leases held at the same time, those that wait for a slot included. Default: concurrency, and at most 4 more. */
  window?: number
  /** In order: the first that serves a task runs it. The worker stops them when it ends. */
  executors: readonly Executor[]
  /** Stable name for people. Default: host name and process id. */
  name?: string
  /** How long `drain` lets running code go on. Default: 30,000. */
  drainMs?: number
  /** `false`: give up when the first connection does not come about. Default: keep trying. */
  retry?: boolean
  /** Default: warnings and errors go to standard error. */
  log?: TaskLog
}

/** Waits at the end: for code that was told to stop (beyond its grace), for results to be stored, for the broker's goodbye. */
const STUBBORN_MS = 2_000
const CONFIRM_MS = 10_000
const BYE_MS = 5_000
/** Each of them when `stop` was called. */
const HURRIED_MS = 1_000
const MOST_LEASES = 10_000

/**
 * Leases runs from a broker and has executors run them, until it is drained or stopped. Connects again by itself.
 *
 * A task that no executor serves is answered at once: with executors of other processes, which have allow-lists, the run
 * fails for good (`SecurityViolation`); when there are only tasks of this process it is an `UnknownTask`, tried again.
 */
export class Worker extends EventEmitter<WorkerEventMap> {
  readonly name: string
  readonly #executors: readonly Executor[]
  readonly #drainMs: number
  readonly #log: TaskLog
  readonly #lessee: Lessee
  readonly #hurry = new AbortController()
  #isStarted = false
  #isOver = false
  #failure: ReproqError | undefined
  #ending: Promise<void> | undefined

  /** `now` is for tests: milliseconds of a monotonic clock. Throws InvalidOption. */
  constructor(options: WorkerOptions, now: () => number = () => performance.now()) {
    super()
    this.#executors = options.executors
    this.#drainMs = options.drainMs ?? 30_000
    this.#log = options.log ?? warningsToStandardError
    this.name = options.name ?? `${hostname()}-${process.pid}`
    const { lanes, concurrency } = capacityOf(options)
    this.#lessee = new Lessee({
      urls: options.urls ?? (options.url === undefined ? [] : [options.url]),
      token: options.token,
      retry: options.retry ?? true,
      identity: identityOf(this.name, concurrency),
      lanes,
      concurrency,
      executors: options.executors,
      log: this.#log,
      now,
      tell: (name, ...data) => this.#tell(name, data),
      failed: (error) => this.#failed(error),
    })
  }

  /** Connects. Resolves with the first welcome; rejects with WorkerRefused, or BrokerUnreachable when `retry` is false. */
  async start(): Promise<this> {
    if (this.#isStarted) throw new InvalidOption('This worker was started before', 'make a new one')
    this.#isStarted = true
    this.#lessee.start()
    await this.#lessee.changes.until(() => this.#lessee.isConnected || this.#failure !== undefined || this.#ending !== undefined, FOREVER_MS)
    if (this.#failure) throw this.#failure
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
    this.#lessee.drain(hurry.aborted ? 0 : this.#drainMs)
    changes.happened()
    await changes.until(() => !this.#lessee.isBusy, this.#drainMs, hurry)
    await this.#stopRunning()
    const isConfirmed = () => !this.#lessee.isHolding
    if (!(await changes.until(isConfirmed, CONFIRM_MS, hurry)) && !(await changes.until(isConfirmed, HURRIED_MS))) {
      this.#log.warn('The broker has not confirmed everything; what it does not know will be run again')
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
    this.#log.error(error.message, error.hint === undefined ? {} : { hint: error.hint })
    this.#tell('failed', [error])
    void this.#over()
  }

  async #over(): Promise<void> {
    await this.#stopExecutors()
    this.#isOver = true
    this.#lessee.changes.happened()
  }

  async #stopExecutors(): Promise<void> {
    for (const stopped of await Promise.allSettled(this.#executors.map((executor) => executor.stop()))) {
      if (stopped.status === 'rejected') this.#log.error('An executor could not be stopped', { reason: String(stopped.reason) })
    }
  }

  /** What a listener throws is its own affair: the leases must not suffer from it. */
  #tell<Name extends keyof WorkerEventMap>(name: Name, data: WorkerEventMap[Name]) {
    try {
      // The typed emitter cannot follow a generic name.
      EventEmitter.prototype.emit.call(this, name, ...data)
    } catch (error) {
      this.#log.error(`A listener for ${name} failed`, { reason: String(error) })
    }
  }
}

/** A worker that has been started. Rejects as `start` does. */
export function startWorker(options: WorkerOptions): Promise<Worker> {
  return new Worker(options).start()
}

const FOREVER_MS = Number.POSITIVE_INFINITY

function capacityOf({ queues = ['default'], lanes, concurrency, window }: WorkerOptions): { lanes: readonly Subscription[]; concurrency: number } {
  if (lanes) {
    for (const lane of lanes) checkCount('window of a lane', lane.window)
    const slots = concurrency ?? lanes.reduce((sum, lane) => sum + lane.window, 0)
    return { lanes, concurrency: checkCount('concurrency', slots) }
  }
  const slots = checkCount('concurrency', concurrency ?? 10)
  // A few in advance hide the round trip to the broker; each of them waits longer should this process die.
  const leases = checkCount('window', window ?? Math.min(slots + Math.min(slots, 4), MOST_LEASES))
  if (queues.length === 0) throw new InvalidOption('A worker needs at least one queue', 'leave queues out for "default"')
  return { lanes: [{ queues: [...queues], window: leases }], concurrency: slots }
}

function checkCount(name: string, count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= MOST_LEASES) return count
  throw new InvalidOption(`The ${name} is ${count}`, `it takes a whole number from 1 to ${MOST_LEASES}`)
}

function identityOf(worker: string, concurrency: number) {
  const sdk = { name: 'reproq', version: packageVersion(), lang: 'typescript' }
  return { worker, instance: randomUUID(), sdk, caps: [...CAPABILITIES], host: hostname(), pid: process.pid, concurrency }
}

/** By the name of the package, because compiled code lies deeper than its source. */
function packageVersion(): string {
  const { version } = createRequire(import.meta.url)('reproq/package.json') as { version: string }
  return version
}
