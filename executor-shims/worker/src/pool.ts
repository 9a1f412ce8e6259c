import { Backoff } from './backoff.js'
import { Stop } from './executor.js'
import type { LoopProcess } from './loop-process.js'
import { stopOf } from './stopped.js'
import type { StopSignal } from './stop-signal.js'

export interface PoolOptions {
  /** The most processes at a time. */
  processes: number
  /** Starts one. May throw. */
  start: () => LoopProcess
}

interface Waiter {
  resolve: (process: LoopProcess) => void
  reject: (reason: unknown) => void
}

/** Warm processes: started when they are needed, reused, replaced when worn. Who waits longest is served first. */
export class Pool {
  readonly #options: PoolOptions
  readonly #backoff = new Backoff()
  /** In the order of their start: the first with room gets the next run, so that those beyond what is needed stay idle. */
  readonly #living = new Set<LoopProcess>()
  readonly #all = new Set<LoopProcess>()
  readonly #waiting = new Set<Waiter>()
  #starting = 0
  #retry: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /** A process with a place reserved for one run. Rejects with a Stop, or with why no process could be started. */
  async acquire(signal: StopSignal): Promise<LoopProcess> {
    if (this.#stopped) throw new Stop('shutdown')
    if (signal.aborted) throw stopOf(signal)
    const waiter: Waiter = { resolve: () => {}, reject: () => {} }
    const process = new Promise<LoopProcess>((resolve, reject) => Object.assign(waiter, { resolve, reject }))
    const giveUp = () => this.#waiting.delete(waiter) && waiter.reject(stopOf(signal))
    signal.addEventListener('abort', giveUp)
    this.#waiting.add(waiter)
    this.#serve()
    return process.finally(() => signal.removeEventListener('abort', giveUp))
  }

  /** A fresh process for one run that may end it, in which nothing else runs. Beyond the number of processes: it is not kept. */
  async acquireOwn(signal: StopSignal): Promise<LoopProcess> {
    if (this.#stopped) throw new Stop('shutdown')
    if (signal.aborted) throw stopOf(signal)
    const own = this.#options.start()
    this.#track(own)
    own.wear('it was for one run alone')
    const giveUp = () => own.kill()
    signal.addEventListener('abort', giveUp)
    try {
      await own.ready
      return own.reserve()
    } catch (error) {
      throw signal.aborted ? stopOf(signal) : this.#stopped ? new Stop('shutdown') : error
    } finally {
      signal.removeEventListener('abort', giveUp)
    }
  }

  /** Its run is over. */
  release(process: LoopProcess): void {
    this.#look(process)
    this.#serve()
  }

  /** Every process is replaced, after its present run. */
  recycle(reason: string): void {
    for (const process of this.#living) {
      process.wear(reason)
      this.#look(process)
    }
    this.#backoff.worked()
    this.#serve()
  }

  /** Also for the last moment of this process: it only sends signals. */
  readonly kill = (): void => {
    for (const process of this.#all) process.kill()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#retry)
    for (const waiter of this.#waiting) waiter.reject(new Stop('shutdown'))
    this.#waiting.clear()
    // Idle ones have exit handlers to run.
    for (const process of this.#all) process.isIdle ? void process.end() : process.abandon(new Stop('shutdown', true))
    await Promise.all([...this.#all].map(({ gone }) => gone))
  }

  #serve(): void {
    if (this.#stopped) return
    for (const waiter of this.#waiting) {
      const process = this.#withRoom()
      if (!process) break
      this.#waiting.delete(waiter)
      waiter.resolve(process.reserve())
    }
    while (this.#starting < this.#waiting.size && this.#living.size < this.#options.processes && this.#mayStart()) this.#start()
  }

  #withRoom(): LoopProcess | undefined {
    for (const process of this.#living) if (process.room > 0) return process
    return undefined
  }

  #mayStart(): boolean {
    const { ms } = this.#backoff
    clearTimeout(this.#retry)
    if (ms > 0) this.#retry = setTimeout(() => this.#serve(), ms)
    return ms === 0
  }

  #start(): void {
    let started: LoopProcess
    try {
      started = this.#options.start()
    } catch (error) {
      return this.#failed(error)
    }
    this.#starting++
    this.#keep(started)
    started.ready.then(() => this.#backoff.worked(), (error: unknown) => this.#living.delete(started) && this.#failed(error)).finally(() => {
      this.#starting--
      this.#serve()
    })
  }

  #keep(started: LoopProcess): void {
    this.#living.add(started)
    this.#track(started)
  }

  #track(started: LoopProcess): void {
    if (this.#all.size === 0) process.on('exit', this.kill)
    this.#all.add(started)
    void started.gone.then(() => {
      this.#living.delete(started)
      this.#all.delete(started)
      if (this.#all.size === 0) process.off('exit', this.kill)
      this.#serve()
    })
  }

  /** One start that fails costs one run, the one that waited longest; the next start waits a while. */
  #failed(error: unknown): void {
    this.#backoff.failed()
    const [first] = this.#waiting
    if (!first) return
    this.#waiting.delete(first)
    first.reject(error)
  }

  /** A worn process makes room for its successor at once, and ends when it is idle. */
  #look(process: LoopProcess): void {
    if (process.worn === undefined) return
    this.#living.delete(process)
    if (process.isIdle) void process.end()
  }
}
