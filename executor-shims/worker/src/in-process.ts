import type { Task, TaskLog } from '../../../sdk-ts/src/define-task.js'
import { InvalidOutput } from '../../../sdk-ts/src/errors.js'
import { describeError } from './describe-error.js'
import { Stop, type Assignment, type Executor, type Settlement, type Voice } from './executor.js'
import { AttemptContext } from './attempt-context.js'
import { settleStopped, stopOf } from './stopped.js'
import { tasksByName } from './tasks-by-name.js'
import { StopSource, type StopSignal } from './stop-signal.js'

export interface InProcessOptions {
  /** Where the lines of `ctx.log` go, beside the broker. Default: standard error, one line each, led by task and run. */
  log?: (assignment: Assignment) => TaskLog
}

/**
 * Runs TypeScript tasks in this process. Cheap, and with one limit: code in this process cannot be killed. A handler
 * that ignores its signal is given up after the grace period, so that its slot is free, but it goes on running; one
 * that never yields (`while (true)`) also holds up everything else here. Such code belongs in a child process.
 *
 * Numbers of the input beyond 2^53 lose digits, as in any JSON.parse.
 */
export class InProcessExecutor implements Executor {
  readonly name = 'typescript'
  readonly isInProcess = true
  readonly #tasks: ReadonlyMap<string, Task>
  /** What runs, and how each is given up. */
  readonly #running = new Map<StopSource, () => void>()
  readonly #log: (assignment: Assignment) => TaskLog

  /** Throws InvalidOption when two tasks share a name. */
  constructor(tasks: readonly Task[], options: InProcessOptions = {}) {
    this.#tasks = tasksByName(tasks)
    this.#log = options.log ?? standardErrorLog
  }

  /** Names of the tasks it runs. */
  get tasks(): string[] {
    return [...this.#tasks.keys()]
  }

  serves(task: string): boolean {
    return this.#tasks.has(task)
  }

  /** The outcome is `timeout` when the limit stopped it, `cancelled` when anything else did, unless the handler succeeded all the same. */
  async execute(assignment: Assignment, signal: StopSignal, voice?: Voice): Promise<Settlement> {
    const task = this.#tasks.get(assignment.task)
    if (!task) return { outcome: 'rejected', error: { class: 'UnknownTask', message: `This worker has no task "${assignment.task}"` } }

    const stopping = new StopSource()
    const follow = () => stopping.abort(stopOf(signal))
    if (signal.aborted) return settleStopped(stopOf(signal), assignment)
    signal.addEventListener('abort', follow)
    try {
      return await this.#settledOrGivenUp(this.#attempt(task, assignment, stopping, voice), assignment, stopping)
    } finally {
      signal.removeEventListener('abort', follow)
      this.#running.delete(stopping)
    }
  }

  /** Tells every handler to stop and gives it up at once. */
  async stop(): Promise<void> {
    for (const [stopping, giveUp] of this.#running) {
      stopping.abort(new Stop('shutdown', true))
      giveUp()
    }
  }

  async #attempt(task: Task, assignment: Assignment, stopping: StopSource, voice: Voice | undefined): Promise<Settlement> {
    try {
      const output = await task.perform(new AttemptContext(assignment, stopping, this.#log, voice))
      return { outcome: 'ok', output: jsonText(task.name, output) }
    } catch (error) {
      return stopping.aborted ? settleStopped(stopOf(stopping), assignment, failed(error)) : failed(error)
    }
  }

  /** The attempt's own end, or after a stop and its grace period a verdict without it. */
  #settledOrGivenUp(attempt: Promise<Settlement>, assignment: Assignment, stopping: StopSource): Promise<Settlement> {
    return new Promise((resolve) => {
      let grace: NodeJS.Timeout | undefined
      const settle = (settlement: Settlement) => {
        clearTimeout(grace)
        resolve(settlement)
      }
      const giveUp = () => settle(settleStopped(stopOf(stopping), assignment))
      const startGrace = () => {
        if (stopOf(stopping).hard) giveUp()
        else grace = setTimeout(giveUp, assignment.cancel_grace_ms)
      }
      this.#running.set(stopping, giveUp)
      stopping.addEventListener('abort', startGrace)
      void attempt.then(settle)
    })
  }
}

/** `undefined` is null. What is no JSON would be none in the next attempt too, so that failure is final. */
function jsonText(task: string, output: unknown): string {
  try {
    return JSON.stringify(output) ?? 'null'
  } catch (error) {
    throw new InvalidOutput(task, [{ message: error instanceof Error ? error.message : String(error) }], error)
  }
}

function failed(error: unknown): Settlement {
  const { retryable, retryAfterMs, postponeMs, holdQueue } = (error ?? {}) as { [Field in 'retryable' | 'retryAfterMs' | 'postponeMs' | 'holdQueue']?: unknown }
  if (typeof postponeMs === 'number') return { outcome: 'postponed', error: describeError(error), retryAfterMs: postponeMs, ...(holdQueue === true && { holdQueue }) }
  return {
    outcome: 'error',
    error: describeError(error),
    ...(retryable === false && { retryable: false }),
    ...(typeof retryAfterMs === 'number' && { retryAfterMs }),
  }
}

function standardErrorLog({ task, run }: Assignment): TaskLog {
  const write = (level: string) => (message: string, fields?: Record<string, unknown>) => {
    process.stderr.write(`${level} ${task} run ${run}: ${message}${fields ? ` ${JSON.stringify(fields)}` : ''}\n`)
  }
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}
