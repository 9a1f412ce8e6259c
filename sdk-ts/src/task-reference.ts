import type { RetryPolicy } from '../../protocol/src/rest.js'
import type { RunControls } from './run-options.js'

/** The arguments of a run, as they travel: `args` and `kwargs` of the REST interface. */
export interface Call {
  args?: unknown[]
  kwargs?: Record<string, unknown>
}

/** What a producer must know of a task: its name, its defaults, and how an input becomes arguments. */
export interface TaskReference<Input = unknown, Output = unknown> {
  readonly name: string
  readonly queue?: string
  readonly priority?: number
  readonly maxAttempts?: number
  readonly timeoutMs?: number
  readonly retry?: RetryPolicy
  readonly controls?: RunControls
  /** Checks an input and turns it into arguments. Throws InvalidInput. */
  toCall(input: unknown): Promise<Call>
  /** Only types live here: what callers pass, and what they get back. */
  readonly '~types'?: { readonly input: Input; readonly output: Output }
}

/** What callers of a task pass: `InputOf<typeof sendWelcome>`. */
export type InputOf<T extends TaskReference> = NonNullable<T['~types']>['input']
/** What callers of a task get back: `OutputOf<typeof sendWelcome>`. */
export type OutputOf<T extends TaskReference> = NonNullable<T['~types']>['output']

/** Input and options of an enqueue; a task without input needs neither. */
export type CallArguments<T extends TaskReference, Options> = undefined extends InputOf<T> ? [input?: InputOf<T>, options?: Options] : [input: InputOf<T>, options?: Options]
