import type { Parent, TaskContext, TaskLog } from '../../../sdk-ts/src/define-task.js'
import { durationMs, InvalidDuration, type Duration } from '../../../sdk-ts/src/duration.js'
import { CheckpointTooLarge, ExtendRefused, InvalidInput, ParentsUnavailable } from '../../../sdk-ts/src/errors.js'
import { unheard } from './console-capture.js'
import type { Assignment, Voice } from './executor.js'
import type { OutputOf, TaskReference } from '../../../sdk-ts/src/task-reference.js'
import { abortSignalOf, type StopSignal } from './stop-signal.js'

/** What a handler is given. The signal and the log are made when they are first read: most handlers look at neither. */
export class AttemptContext implements TaskContext {
  readonly input: unknown
  readonly #assignment: Assignment
  readonly #stopping: StopSignal
  readonly #makeLog: (assignment: Assignment) => TaskLog
  readonly #voice: Voice | undefined
  #signal: AbortSignal | undefined
  #log: TaskLog | undefined
  #parents: Readonly<Record<string, Parent>> | undefined
  /** Of this attempt; undefined: it has left none. */
  #checkpoint: string | undefined

  /** Throws InvalidInput for a call with more than one argument. */
  constructor(assignment: Assignment, stopping: StopSignal, makeLog: (assignment: Assignment) => TaskLog, voice?: Voice) {
    this.input = inputOf(assignment)
    this.#assignment = assignment
    this.#stopping = stopping
    this.#makeLog = makeLog
    this.#voice = voice
  }

  get signal(): AbortSignal {
    return (this.#signal ??= abortSignalOf(this.#stopping))
  }

  get log(): TaskLog {
    return (this.#log ??= heardBy(this.#makeLog(this.#assignment), this.#voice))
  }

  // Handlers take these apart from the context.
  get progress() {
    return (pct: number, note?: string): void => {
      this.#voice?.progress({ ...(Number.isFinite(pct) && { pct: Math.min(Math.max(pct, 0), 100) }), ...(note !== undefined && { note: String(note) }) })
    }
  }

  get checkpoint() {
    return (data: unknown): void => {
      const text = JSON.stringify(data) ?? 'null'
      const bytes = Buffer.byteLength(text)
      const limit = this.#voice?.checkpointBytes ?? Number.POSITIVE_INFINITY
      if (bytes > limit) throw new CheckpointTooLarge(this.task, bytes, limit)
      this.#checkpoint = text
      this.#voice?.progress({ checkpoint: text })
    }
  }

  get extend() {
    return async (left: Duration): Promise<number> => {
      const ms = durationMs(left)
      // No time at all is no limit to run within.
      if (ms < 1) throw new InvalidDuration(left)
      if (!this.#voice?.extend) throw new ExtendRefused(this.#assignment, 'unsupported')
      return this.#voice.extend(ms)
    }
  }

  get lastCheckpoint(): unknown {
    const text = this.#checkpoint ?? this.#assignment.checkpoint
    return text === undefined ? undefined : JSON.parse(text)
  }

  get parents(): Readonly<Record<string, Parent>> {
    return (this.#parents ??= parentsOf(this.#assignment))
  }

  parent<T extends TaskReference>(name: string): Parent<OutputOf<T>> {
    const parent = this.parents[name]
    if (!parent) throw new ParentsUnavailable(this.task, this.runId, `none of them is named "${name}"; there are: ${Object.keys(this.parents).join(', ') || 'none'}`)
    return parent as Parent<OutputOf<T>>
  }

  get attempt(): number {
    return this.#assignment.attempt
  }

  get maxAttempts(): number {
    return this.#assignment.max_attempts
  }

  get runId(): string {
    return this.#assignment.run
  }

  get task(): string {
    return this.#assignment.task
  }

  get queue(): string {
    return this.#assignment.queue
  }
}

/** Read only when a handler asks: few do. */
function parentsOf({ task, run, spec }: Assignment): Record<string, Parent> {
  const { parents = {}, parents_error } = JSON.parse(spec) as { parents?: Record<string, Parent>; parents_error?: string }
  if (parents_error !== undefined) throw new ParentsUnavailable(task, run, parents_error)
  return parents
}

/** The same log, whose lines go to the broker too. */
function heardBy(log: TaskLog, voice: Voice | undefined): TaskLog {
  if (!voice) return log
  const write = (level: keyof TaskLog) => (message: string, fields?: Record<string, unknown>) => {
    // It may well write to console.
    unheard(() => log[level](message, fields))
    voice.print('log', `${level} ${message}${fields ? ` ${JSON.stringify(fields)}` : ''}\n`)
  }
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}

/** The one input of a call: its single argument, or its keyword arguments when a producer of another language sent those. */
function inputOf({ task, spec }: Assignment): unknown {
  const { args = [], kwargs = {} } = JSON.parse(spec) as { args?: unknown[]; kwargs?: Record<string, unknown> }
  const keywords = Object.keys(kwargs).length
  if (args.length + (keywords > 0 ? 1 : 0) > 1) {
    throw new InvalidInput(task, [{ message: `a TypeScript task takes one argument, the call has ${args.length} positional and ${keywords} keyword arguments` }])
  }
  return keywords > 0 ? kwargs : args[0]
}
