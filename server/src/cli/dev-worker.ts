import type { Events } from '../events.js'
import { WorkerProcess, type WorkerProcessOptions } from './worker-process.js'

/** Other workers of this broker are told apart by it. */
const NAME = `dev-${process.pid}`
/** Code that takes longer to load hangs. */
const LOAD_MS = 30_000

export function isDevWorker(workerId: string): boolean {
  return workerId.startsWith(`${NAME}#`)
}

/** The worker of `reproq dev`: a process of its own, and after each change of its code another one. */
export class DevWorker {
  readonly #events: Events
  readonly #options: WorkerProcessOptions
  /** Ids that have said hello. A process keeps its id when it connects again. */
  readonly #known = new Set<string>()
  /** The current one, and those that still finish what they have begun. */
  readonly #processes = new Set<WorkerProcess>()
  readonly #failed: Promise<never>
  #fail: (error: Error) => void = () => undefined
  #current: WorkerProcess
  #queuesOfOthers: string[] = []
  #stopping = false

  constructor(events: Events, options: Omit<WorkerProcessOptions, 'name'>) {
    this.#events = events
    this.#options = { ...options, name: NAME }
    this.#failed = new Promise<never>((_, reject) => (this.#fail = reject))
    this.#failed.catch(() => undefined)
    this.#current = this.#start()
  }

  /** Rejects when the worker ends without having been asked to. */
  get failed(): Promise<never> {
    return this.#failed
  }

  /** Resolves when it says hello. Rejects, with what it printed, when it ends before, also when it was asked to. */
  connected(): Promise<void> {
    return this.#hello(this.#current)
  }

  /**
   * A process with the code as it is now takes over as soon as it has said hello; the one before finishes what it has begun. Rejects
   * when it does not come up, after it has said why: then the one before stays.
   */
  async reload(): Promise<void> {
    const next = this.#start()
    const bound = setTimeout(() => next.kill(), LOAD_MS)
    await this.#hello(next).finally(() => clearTimeout(bound))
    const before = this.#current
    this.#current = next
    void before.drain()
  }

  /** What it does not serve itself, it leaves to the workers of these queues. */
  leaveToOthers(queuesOfOthers: string[]): void {
    this.#queuesOfOthers = queuesOfOthers
    for (const process of this.#processes) process.leaveToOthers(queuesOfOthers)
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all([...this.#processes].map((process) => process.drain()))
  }

  /** Does not wait for anything. */
  kill(): void {
    this.#stopping = true
    for (const process of this.#processes) process.kill()
  }

  #start(): WorkerProcess {
    const process = new WorkerProcess(this.#options)
    this.#processes.add(process)
    process.leaveToOthers(this.#queuesOfOthers)
    void process.ended.then((code) => {
      this.#processes.delete(process)
      if (process === this.#current && !this.#stopping) this.#fail(process.fault(code))
    })
    return process
  }

  /** One at a time, for hellos do not say of which process they are. */
  #hello(process: WorkerProcess): Promise<void> {
    return new Promise((resolve, reject) => {
      const off = this.#events.on('session.opened', ({ workerId }) => {
        if (!isDevWorker(workerId) || this.#known.has(workerId)) return
        this.#known.add(workerId)
        off()
        resolve()
      })
      void process.ended.then((code) => {
        off()
        reject(process.fault(code))
      })
    })
  }
}
