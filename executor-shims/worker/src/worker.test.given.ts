import type { Outcome } from '../../../protocol/src/index.js'
import { Changes } from './changes.js'
import type { Assignment, Executor, Settlement, Stop, Voice } from './executor.js'
import { ScriptedBroker, TERMS, type Conversation } from './scripted-broker.test.given.js'
import { Worker, type WorkerEventMap, type WorkerOptions } from './worker.js'

const BOUND_MS = 5_000

/** One attempt that a test ends when it likes. */
export interface Execution {
  assignment: Assignment
  signal: AbortSignal
  voice: Voice | undefined
  /** Ends it. */
  settle(settlement: Settlement): void
  /** Why it was told to stop. */
  readonly stop: Stop | undefined
}

/** Executes nothing: a test decides when and how attempts end. Stopped ones end by themselves unless `ignoresStop`. */
export class HandExecutor implements Executor {
  readonly name = 'hand'
  readonly executions: Execution[] = []
  ignoresStop = false
  /** How stopped attempts end. */
  outcome: Outcome = 'cancelled'
  stopped = 0
  readonly #changes = new Changes()

  serves(task: string): boolean {
    return task !== 'nobodys'
  }

  execute(assignment: Assignment, signal: AbortSignal, voice?: Voice): Promise<Settlement> {
    return new Promise((settle) => {
      this.executions.push({
        assignment,
        signal,
        voice,
        settle,
        get stop() {
          return signal.reason as Stop | undefined
        },
      })
      signal.addEventListener('abort', () => {
        if (!this.ignoresStop) settle({ outcome: this.outcome, error: { class: 'Cancelled', message: 'stopped' } })
        this.#changes.happened()
      })
      this.#changes.happened()
    })
  }

  async stop(): Promise<void> {
    this.stopped++
    for (const { settle } of this.executions) settle({ outcome: 'cancelled', error: { class: 'Cancelled', message: 'killed' } })
  }

  /** The n-th attempt, once it has started. */
  async started(n: number): Promise<Execution> {
    await this.#until(() => this.executions.length >= n, `attempt ${n} to start`)
    return this.executions[n - 1] as Execution
  }

  async told(execution: Execution): Promise<Stop> {
    await this.#until(() => execution.signal.aborted, 'an attempt to be told to stop')
    return execution.stop as Stop
  }

  async #until(isSo: () => boolean, what: string): Promise<void> {
    if (!(await this.#changes.until(isSo, BOUND_MS))) throw new Error(`Waited in vain for ${what}`)
  }
}

export const silent = { debug() {}, info() {}, warn() {}, error() {} }

interface Test {
  teardown(end: () => unknown): void
}

interface Circumstances {
  terms?: typeof TERMS
  caps?: string[]
  now?: () => number
  /** Its window is its own affair. */
  prefetches?: boolean
}

/** A worker that was welcomed by a scripted broker. */
export async function given(t: Test, options: Partial<WorkerOptions> = {}, { terms = TERMS, caps = ['resume'], now, prefetches = false }: Circumstances = {}) {
  const broker = await ScriptedBroker.start(t)
  const executor = new HandExecutor()
  const worker = new Worker({ url: broker.url, name: 'given', concurrency: 2, ...(!prefetches && { window: 4 }), executors: [executor], log: silent, drainMs: 4_000, ...options }, now)
  t.teardown(() => {
    // Nobody will say goodbye to it.
    broker.stop()
    return worker.stop()
  })
  const arriving = broker.connection()
  const starting = worker.start()
  const link = await arriving
  const hello = await link.greet({ ...terms, caps })
  await starting
  return { broker, executor, worker, link, hello }
}

/** The next event of that name. */
export function event<Name extends keyof WorkerEventMap>(worker: Worker, name: Name): Promise<WorkerEventMap[Name][0]> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`No event ${name}`)), BOUND_MS)
    worker.once(name as 'connected', (data) => {
      clearTimeout(timer)
      resolve(data as WorkerEventMap[Name][0])
    })
  })
}

/** The worker says goodbye: the broker answers as it should. */
export async function partsWith(link: Conversation): Promise<void> {
  await link.expect('bye')
  link.close(1000)
}
