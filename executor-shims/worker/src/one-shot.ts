import { isAllowed } from './allow-list.js'
import { Attempt } from './attempt.js'
import { childEnvironment } from './environment.js'
import { Stop, type Assignment, type Executor, type Settlement, type Voice } from './executor.js'
import { spawning, type Launcher } from './launch.js'
import type { PayloadMode } from './payload.js'
import type { Progress } from './progress.js'
import { settleStopped, stopOf } from './stopped.js'
import type { StopSignal } from './stop-signal.js'

export { isAllowed } from './allow-list.js'

export interface OneShotOptions {
  /** One word for logs and the banner. */
  name: string
  /** Program and first arguments, for example `['python3', '-m', 'reproq_executor']`. */
  command: readonly string[]
  /** How the spec reaches the executor. Default `stdin`. */
  payloadMode?: PayloadMode
  /** Prefixes of the task paths it may run; `*` is all. Empty (the default): `myapp.tasks.` and `tasks.`, as in Reproq. */
  allow?: readonly string[]
  /** Variables of this process that it gets beside the usual ones (PATH, HOME, PYTHONPATH, …); a trailing `*` is a prefix. */
  env?: readonly string[]
  /** Variables it gets with these values. */
  extraEnv?: Readonly<Record<string, string>>
  /** Its working directory, which Python searches first for modules. Default: that of this process. */
  cwd?: string
  /** Largest return value, as JSON text. Default 1 MiB. */
  maxOutputBytes?: number
  /** How much of stdout, and of stderr, goes to `onLog` and to the broker. Default 1 MiB each. */
  maxLogBytes?: number
  /** How long pipes may stay open after the process has ended. Default 250. */
  stdioGraceMs?: number
  /** Receives what the code prints, in pieces of whole characters. */
  onLog?: (assignment: Assignment, stream: 'stdout' | 'stderr', text: string) => void
  /** Receives what the code says about how far it is. */
  onProgress?: (assignment: Assignment, progress: Progress) => void
  /** Told of processes that outlived SIGKILL (stuck in the kernel, or of another user). */
  onOrphans?: (assignment: Assignment, pids: readonly number[]) => void
}

type Optional = 'cwd' | 'onLog' | 'onProgress' | 'onOrphans'
export type ResolvedOptions = Required<Omit<OneShotOptions, Optional>> & Pick<OneShotOptions, Optional>

const DEFAULTS = { payloadMode: 'stdin', allow: [], env: [], extraEnv: {}, maxOutputBytes: 1_048_576, maxLogBytes: 1_048_576, stdioGraceMs: 250 } as const

/** Starts a fresh process for every attempt: the contract of executor-shims/CONTRACT.md, one-shot mode. */
export class OneShotExecutor implements Executor {
  readonly name: string
  readonly #options: ResolvedOptions
  readonly #launch: Launcher
  readonly #running = new Map<Attempt, Promise<Settlement>>()
  #stopped = false

  /** `launch` starts the processes; by default the command itself, anew for every attempt. */
  constructor(options: OneShotOptions, launch?: Launcher) {
    this.name = options.name
    this.#options = { ...DEFAULTS, ...options }
    const { command, cwd, env, extraEnv } = this.#options
    this.#launch = launch ?? spawning({ command, cwd, env: childEnvironment(process.env, env, { ...extraEnv, REPROQ_RESULT_FD: '3', REPROQ_EXTEND: '1' }) })
  }

  serves(task: string): boolean {
    return isAllowed(task, this.#options.allow)
  }

  async execute(assignment: Assignment, signal: StopSignal, voice?: Voice): Promise<Settlement> {
    if (this.#stopped) return settleStopped(new Stop('shutdown'), assignment)
    if (signal.aborted) return settleStopped(stopOf(signal), assignment)
    if (!this.serves(assignment.task)) return refused(assignment.task, this.name)
    const attempt = new Attempt(assignment, this.#options, this.#launch, voice)
    const halt = () => attempt.halt(stopOf(signal))
    signal.addEventListener('abort', halt)
    try {
      return await this.#track(attempt)
    } finally {
      signal.removeEventListener('abort', halt)
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#killAll()
    await Promise.all(this.#running.values())
  }

  /** While anything runs, the end of this process (even by an uncaught error) ends it too: it is not in our group. */
  async #track(attempt: Attempt): Promise<Settlement> {
    if (this.#running.size === 0) process.on('exit', this.#killAll)
    const settlement = attempt.run()
    this.#running.set(attempt, settlement)
    try {
      return await settlement
    } finally {
      this.#running.delete(attempt)
      if (this.#running.size === 0) process.off('exit', this.#killAll)
    }
  }

  readonly #killAll = (): void => {
    for (const attempt of this.#running.keys()) attempt.halt(new Stop('shutdown', true))
  }
}

/** The answer to a run whose task no allow-list covers. */
export function refused(task: string, name: string): Settlement {
  const message = `The executor ${name} is not allowed to run ${task}. Add its module to the executor's allow-list`
  return { outcome: 'rejected', error: { class: 'SecurityViolation', message }, retryable: false }
}
