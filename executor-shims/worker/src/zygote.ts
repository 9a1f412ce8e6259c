import { Backoff } from './backoff.js'
import { childEnvironment } from './environment.js'
import type { Assignment, Executor, Settlement, Voice } from './executor.js'
import { ForkedProcess } from './forked-process.js'
import type { Launch, Launched } from './launch.js'
import { OneShotExecutor, type OneShotOptions } from './one-shot.js'
import { ZygoteProcess } from './zygote-process.js'
import type { StopSignal } from './stop-signal.js'

export interface ZygoteExecutorOptions extends OneShotOptions {
  /** How long the imports at the start may take. Default 60,000. */
  startTimeoutMs?: number
  /** Receives what the zygote itself prints: of broken modules, for example. Default: nobody. */
  onOutput?: (text: string) => void
}

const START_TIMEOUT_MS = 60_000

/**
 * Runs each attempt in a process of its own that is forked from one which has imported the code: `command` starts that
 * one, as executor-shims/CONTRACT.md describes. A run sees no difference to OneShotExecutor but the time it takes.
 */
export class ZygoteExecutor implements Executor {
  readonly name: string
  readonly #options: ZygoteExecutorOptions
  readonly #oneShot: OneShotExecutor
  readonly #backoff = new Backoff()
  readonly #waiting = new Set<ForkedProcess>()
  /** Those that were replaced live until their last run is over. */
  readonly #living = new Set<ZygoteProcess>()
  #zygote: ZygoteProcess | undefined
  #isReady = false
  #retry: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: ZygoteExecutorOptions) {
    this.name = options.name
    this.#options = options
    this.#oneShot = new OneShotExecutor(options, (launch) => this.#launch(launch))
  }

  serves(task: string): boolean {
    return this.#oneShot.serves(task)
  }

  execute(assignment: Assignment, signal: StopSignal, voice?: Voice): Promise<Settlement> {
    return this.#oneShot.execute(assignment, signal, voice)
  }

  /** The code has changed: the next run is forked from a new zygote. */
  reload(): void {
    this.#zygote?.retire()
    this.#forget()
    this.#backoff.worked()
    this.#serve()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#retry)
    const runs = this.#oneShot.stop()
    this.#kill()
    await Promise.all([runs, ...[...this.#living].map(({ gone }) => gone)])
  }

  #launch(launch: Launch): Launched {
    const process = new ForkedProcess(launch)
    this.#waiting.add(process)
    void process.ended.then(() => this.#waiting.delete(process))
    this.#serve()
    return process
  }

  #serve(): void {
    if (this.#stopped || this.#waiting.size === 0) return
    if (!this.#zygote) return this.#startWhenDue()
    if (!this.#isReady) return
    for (const process of this.#waiting) this.#zygote.fork(process)
    this.#waiting.clear()
  }

  #startWhenDue(): void {
    const { ms } = this.#backoff
    clearTimeout(this.#retry)
    if (ms > 0) this.#retry = setTimeout(() => this.#serve(), ms)
    else this.#start()
  }

  #start(): void {
    const { command, cwd, env = [], extraEnv = {}, startTimeoutMs = START_TIMEOUT_MS, onOutput = () => {} } = this.#options
    const zygote = new ZygoteProcess({ command, cwd, env: childEnvironment(process.env, env, extraEnv), startTimeoutMs, onOutput })
    this.#zygote = zygote
    this.#keep(zygote)
    const isCurrent = () => this.#zygote === zygote
    zygote.ready.then(
      () => isCurrent() && this.#started(),
      (error: unknown) => isCurrent() && this.#failedToStart(error),
    )
    void zygote.gone.then(() => {
      if (isCurrent()) this.#forget()
      this.#serve()
    })
  }

  #started(): void {
    this.#backoff.worked()
    this.#isReady = true
    this.#serve()
  }

  /** One start that fails costs one run, the one that waited longest; the next start waits a while. */
  #failedToStart(error: unknown): void {
    this.#backoff.failed()
    this.#forget()
    const [first] = this.#waiting
    first?.failed(error instanceof Error ? error : new Error(String(error)))
    if (first) this.#waiting.delete(first)
    this.#serve()
  }

  #forget(): void {
    this.#zygote = undefined
    this.#isReady = false
  }

  #keep(zygote: ZygoteProcess): void {
    if (this.#living.size === 0) process.on('exit', this.#kill)
    this.#living.add(zygote)
    void zygote.gone.then(() => {
      this.#living.delete(zygote)
      if (this.#living.size === 0) process.off('exit', this.#kill)
    })
  }

  readonly #kill = (): void => {
    for (const zygote of this.#living) zygote.kill()
  }
}
