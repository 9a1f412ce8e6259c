import type { Parent, TaskContext, TaskLog } from '../../../sdk-ts/src/define-task.js'
import { InvalidInput, ParentsUnavailable } from '../../../sdk-ts/src/errors.js'
import type { Assignment } from './executor.js'
import type { OutputOf, TaskReference } from '../../../sdk-ts/src/task-reference.js'
import { abortSignalOf, type StopSignal } from './stop-signal.js'

/** What a handler is given. The signal and the log are made when they are first read: most handlers look at neither. */
export class AttemptContext implements TaskContext {
  readonly input: unknown
  readonly #assignment: Assignment
  readonly #stopping: StopSignal
  readonly #makeLog: (assignment: Assignment) => TaskLog
  #signal: AbortSignal | undefined
  #log: TaskLog | undefined
  #parents: Readonly<Record<string, Parent>> | undefined

  /** Throws InvalidInput for a call with more than one argument. */
  constructor(assignment: Assignment, stopping: StopSignal, makeLog: (assignment: Assignment) => TaskLog) {
    this.input = inputOf(assignment)
    this.#assignment = assignment
    this.#stopping = stopping
    this.#makeLog = makeLog
  }

  get signal(): AbortSignal {
    return (this.#signal ??= abortSignalOf(this.#stopping))
  }

  get log(): TaskLog {
    return (this.#log ??= this.#makeLog(this.#assignment))
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

/** The one input of a call: its single argument, or its keyword arguments when a producer of another language sent those. */
function inputOf({ task, spec }: Assignment): unknown {
  const { args = [], kwargs = {} } = JSON.parse(spec) as { args?: unknown[]; kwargs?: Record<string, unknown> }
  const keywords = Object.keys(kwargs).length
  if (args.length + (keywords > 0 ? 1 : 0) > 1) {
    throw new InvalidInput(task, [{ message: `a TypeScript task takes one argument, the call has ${args.length} positional and ${keywords} keyword arguments` }])
  }
  return keywords > 0 ? kwargs : args[0]
}
