import { isAllowed } from './allow-list.js'
import { childEnvironment } from './environment.js'
import { Stop, type Assignment, type Executor, type Settlement, type Voice } from './executor.js'
import { LoopProcess, type LoopOptions } from './loop-process.js'
import { refused, type OneShotOptions } from './one-shot.js'
import { Pool } from './pool.js'
import { notStarted } from './start-advice.js'
import { settleStopped, stopOf } from './stopped.js'
import type { StopSignal } from './stop-signal.js'

export interface LoopExecutorOptions extends Omit<OneShotOptions, 'payloadMode'> {
  /** The most processes at a time; they are started when they are needed. Default 4. */
  processes?: number
  /** Runs at a time in a process that says it is `concurrent`. Default 10. */
  runsPerProcess?: number
  /** A process is replaced after so many runs. Default 0: never. */
  maxRuns?: number
  /** … when it uses more memory than this after a run (Linux). Default 0: never. */
  maxRssMb?: number
  /** … when it is older than this. Default 0: never. */
  maxAgeMs?: number
  /** How long a process may take to say `ready`. Default 30,000. */
  startTimeoutMs?: number
  /** How long a process that is no longer needed may take to end. Default 2,000. */
  endMs?: number
}

const DEFAULTS = { runsPerProcess: 10, maxRuns: 0, maxRssMb: 0, maxAgeMs: 0, startTimeoutMs: 30_000, endMs: 2_000, maxOutputBytes: 1_048_576, maxLogBytes: 1_048_576, stdioGraceMs: 250 }
const PROCESSES = 4

/** Runs attempts in warm processes: the contract of executor-shims/CONTRACT.md, loop mode. */
export class LoopExecutor implements Executor {
  readonly name: string
  readonly #allow: readonly string[]
  readonly #options: LoopOptions
  readonly #pool: Pool

  constructor({ allow = [], env = [], extraEnv = {}, processes = PROCESSES, ...options }: LoopExecutorOptions) {
    this.name = options.name
    this.#allow = allow
    this.#options = { ...DEFAULTS, ...options, env: childEnvironment(process.env, env, { ...extraEnv, REPROQ_RESULT_FD: '3', REPROQ_PROTOCOLS: '1', REPROQ_EXTEND: '1' }) }
    this.#pool = new Pool({ processes, start: () => new LoopProcess(this.#options) })
  }

  serves(task: string): boolean {
    return isAllowed(task, this.#allow)
  }

  async execute(assignment: Assignment, signal: StopSignal, voice?: Voice): Promise<Settlement> {
    if (!this.serves(assignment.task)) return refused(assignment.task, this.name)
    try {
      const process = await (assignment.alone ? this.#pool.acquireOwn(signal) : this.#pool.acquire(signal))
      const settlement = await process.run(assignment, signal, voice)
      this.#pool.release(process)
      return settlement
    } catch (error) {
      return error instanceof Stop ? settleStopped(signal.aborted ? stopOf(signal) : error, assignment) : notStarted(this.#options, error)
    }
  }

  /** The code has changed: every process is replaced, after its present run. */
  reload(): void {
    this.#pool.recycle('its code has changed')
  }

  /** Kills what runs. */
  async stop(): Promise<void> {
    await this.#pool.stop()
  }
}
