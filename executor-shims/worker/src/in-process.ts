import type { Task, TaskContext, TaskLog } from '../../../sdk-ts/src/define-task.js'
import { InvalidOutput } from '../../../sdk-ts/src/errors.js'
import { captureConsole, withListener, type Listener } from './console-capture.js'
import { describeError } from './describe-error.js'
import { Stop, type Assignment, type Executor, type Settlement, type Voice } from './executor.js'
import { AttemptContext } from './attempt-context.js'
import { settleStopped, stopOf } from './stopped.js'
import { tasksByName } from './tasks-by-name.js'
import { StopSource, type StopSignal } from './stop-signal.js'

export interface InProcessOptions {
  /** Where the lines of `ctx.log` go, beside the broker. Default: standard error, one line each, led by task and run. */
  log?: (assignment: Assignment) => TaskLog
  /**
   * What code writes to console while its run goes on is output of that run, however many run at the same time. It needs Node's
   * AsyncLocalStorage, which makes each promise of this process cost a little more. Default: true.
   */
  captureConsole?: boolean
  /** Where that goes, beside the broker. Default: where console writes. */
  onPrint?: (assignment: Assignment, stream: 'stdout' | 'stderr', text: string) => void
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
  readonly #captures: boolean
  readonly #onPrint: InProcessOptions['onPrint']
  #releaseConsole: (() => void) | undefined

  /** Throws InvalidOption when two tasks share a name. */
  constructor(tasks: readonly Task[], options: InProcessOptions = {}) {
    this.#tasks = tasksByName(tasks)
    this.#log = options.log ?? standardErrorLog
    this.#captures = options.captureConsole ?? true
    this.#onPrint = options.onPrint
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
    const listener = voice && this.#captures ? this.#listen(assignment, voice) : undefined
    try {
      return await this.#settledOrGivenUp(this.#attempt(task, assignment, stopping, voice, listener), assignment, stopping)
    } finally {
      // Code may go on, also after it was given up; its run has ended.
      if (listener) listener.hear = undefined
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
    this.#releaseConsole?.()
    this.#releaseConsole = undefined
  }

  #listen(assignment: Assignment, voice: Voice): Listener {
    this.#releaseConsole ??= captureConsole()
    const onPrint = this.#onPrint
    return {
      hear(stream, text, write) {
        voice.print(stream, text)
        if (onPrint) onPrint(assignment, stream, text)
        else write()
      },
    }
  }

  async #attempt(task: Task, assignment: Assignment, stopping: StopSource, voice: Voice | undefined, listener: Listener | undefined): Promise<Settlement> {
    try {
      const context = new AttemptContext(assignment, stopping, this.#log, voice)
      const output = await (listener ? withListener(listener, perform, task, context) : task.perform(context))
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

function perform(task: Task, context: TaskContext): Promise<unknown> {
  return task.perform(context)
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
