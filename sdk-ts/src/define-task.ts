import type { AsJson } from './as-json.js'
import { durationMs, type Duration } from './duration.js'
import { InvalidInput, InvalidOption, InvalidOutput } from './errors.js'
import { checkNames, namesOf } from './known-names.js'
import { CONTROL_NAMES, retryPolicy, type RetryOptions, type RunControls } from './run-options.js'
import type { Issue, StandardSchema } from './standard-schema.js'
import type { Call, OutputOf, TaskReference } from './task-reference.js'

/** Writes lines that belong to a run. `fields` must be plain JSON values. */
export interface TaskLog {
  debug(message: string, fields?: Record<string, unknown>): void
  info(message: string, fields?: Record<string, unknown>): void
  warn(message: string, fields?: Record<string, unknown>): void
  error(message: string, fields?: Record<string, unknown>): void
}

/** A run of the same workflow that a run waited for, as it had ended by then. */
export interface Parent<Output = unknown> {
  /** Id of the run. */
  run: string
  status: 'SUCCESSFUL' | 'FAILED' | 'CANCELLED'
  /** What it returned, as JSON makes it; null unless it succeeded. */
  output: Output
  /** Why it did not succeed. */
  error?: string
}

/** What `run` is given: the input, and the attempt it is part of. */
export interface TaskContext<Input = unknown> {
  /** The input, checked and converted by the task's schema when it has one. */
  readonly input: Input
  /** Aborts when this attempt must end; `signal.reason.reason` is cancelled, timeout, shutdown or lost_lease. */
  readonly signal: AbortSignal
  readonly log: TaskLog
  /** Says how far the run is: 0 to 100, and a few words. The last one counts; some may get lost. */
  readonly progress: (pct: number, note?: string) => void
  /** Keeps `data` (any JSON) for the next attempt, which finds it in `lastCheckpoint`. Throws CheckpointTooLarge. */
  readonly checkpoint: (data: unknown) => void
  /** What `checkpoint` was last given, by this attempt or an earlier one; undefined without any. */
  readonly lastCheckpoint: unknown
  /**
   * Sets (adds nothing to) the run-time this attempt has left, from now: `await context.extend('5m')`. Resolves to the milliseconds
   * that were granted, which is less where the broker's maximum is near. Rejects with ExtendRefused.
   */
  readonly extend: (left: Duration) => Promise<number>
  /** Number of this attempt, from 1. */
  readonly attempt: number
  readonly maxAttempts: number
  readonly runId: string
  readonly task: string
  readonly queue: string
  /** In a workflow: the runs this one waited for, by name (by run id for a run that Django made). Throws ParentsUnavailable when they are too large. */
  readonly parents: Readonly<Record<string, Parent>>
  /** One of them, with its type: `context.parent<typeof fetchPage>('fetch').output`. Throws ParentsUnavailable when there is none of that name. */
  parent<T extends TaskReference>(name: string): Parent<OutputOf<T>>
}

/** A task of this process: its definition, ready to be enqueued by a producer and performed by a worker. */
export interface Task<Input = unknown, Output = unknown> extends TaskReference<Input, Output> {
  /** Marks tasks across copies of this package: an ESM worker meets tasks that CommonJS modules defined. */
  readonly '~reproq': 'task'
  /** `file:line` of the definition where the runtime can tell it. */
  readonly definedAt: string | undefined
  /** Runs the task once, with `context` made for this attempt alone. Throws InvalidInput, InvalidOutput, or whatever its code throws. */
  perform(context: TaskContext): Promise<unknown>
}

/** What `defineTask` takes. Callers pass `Input`; `run` sees `Parsed`; `run` gives `Returned`; callers get `Result`. */
export interface TaskDefinition<Parsed, Returned, Input, Result> extends RunControls<Input> {
  /** Stable and unique: it is stored with every run. */
  name: string
  /** Any Standard Schema. Checked when a run is enqueued, and again before it runs: old payloads outlive deploys. */
  input?: StandardSchema<Input, Parsed>
  /** Any Standard Schema. Checked after `run`. */
  output?: StandardSchema<Returned, Result>
  /** Queue of its runs. Default: "default". */
  queue?: string
  /** Higher runs first; an integer from -32,768 to 32,767. Default: 0. */
  priority?: number
  retry?: RetryOptions
  /** Run-time limit of one attempt, kept in whole seconds (rounded up). Default: 15 minutes. */
  timeout?: Duration
  run: (context: TaskContext<Parsed>) => Returned | Promise<Returned>
}

const DEFINITION_NAMES = namesOf<TaskDefinition<unknown, unknown, unknown, unknown>>({
  name: true, input: true, output: true, queue: true, priority: true, retry: true, timeout: true, run: true, ...CONTROL_NAMES,
})

/**
 * Defines a task. Types come from the schemas; without schemas from the annotation of `run`
 * (`run({ input }: TaskContext<{ userId: number }>)`) or from `defineTask<Input, Output>`.
 * Queue, priority, retry, timeout and keys hold where this SDK enqueues the task itself; REST, SQL, the CLI and `enqueue('name')` do
 * not know them. Throws InvalidOption or InvalidDuration for a definition that cannot work.
 */
export function defineTask<Parsed = void, Returned = unknown, Input = Parsed, Result = Returned>(
  definition: TaskDefinition<Parsed, Returned, Input, Result>,
): Task<Input, AsJson<Result>> {
  const { name, queue, priority, retry, timeout, input, output } = definition
  checkDefinition(definition)
  checkNames(definition, DEFINITION_NAMES, `Task "${name}": a definition has no option`)
  const policy = retry && retryPolicy(retry, `Task "${name}": `)
  return {
    '~reproq': 'task',
    definedAt: callerOf(defineTask),
    name,
    ...(queue !== undefined && { queue }),
    ...(priority !== undefined && { priority }),
    ...(retry?.attempts !== undefined && { maxAttempts: retry.attempts }),
    ...(policy && { retry: policy }),
    controls: controlsOf(definition),
    ...(timeout !== undefined && { timeoutMs: durationMs(timeout) }),
    async toCall(value): Promise<Call> {
      // Checked as the worker will see it; sent as it was given, so that defaults are the worker's to fill in.
      if (input) await validate(input, overJson(name, value), (issues) => new InvalidInput(name, issues))
      return { args: value === undefined ? [] : [value] }
    },
    async perform(context) {
      // Into the object itself, which is of this attempt alone: a copy would read every field, and `signal` is made when read.
      if (input) Object.assign(context, { input: await validate(input, context.input, (issues) => new InvalidInput(name, issues)) })
      const returned = await definition.run(context as TaskContext<Parsed>)
      return output ? validate(output, returned, (issues) => new InvalidOutput(name, issues)) : returned
    },
  }
}

/** Whether a value is a task, whichever copy of this package defined it. */
export function isTask(value: unknown): value is Task {
  return typeof value === 'object' && value !== null && '~reproq' in value && value['~reproq'] === 'task'
}

async function validate<Output>(schema: StandardSchema<unknown, Output>, value: unknown, invalid: (issues: readonly Issue[]) => Error): Promise<Output> {
  const validated = await schema['~standard'].validate(value)
  if (validated.issues) throw invalid(validated.issues)
  return validated.value
}

function overJson(task: string, value: unknown): unknown {
  if (value === undefined) return undefined
  try {
    return JSON.parse(JSON.stringify(value))
  } catch (error) {
    throw new InvalidInput(task, [{ message: error instanceof Error ? error.message : String(error) }], error)
  }
}

/** Callers' inputs have the type the keys are made from; a reference no longer knows it. */
function controlsOf<Input>({ deduplicate, lockKey, concurrency, rate, fairKey, expiresIn }: RunControls<Input>): RunControls {
  return { deduplicate, lockKey, concurrency, rate, fairKey, expiresIn } as RunControls
}

function checkDefinition({ name, priority }: { name: string; priority?: number }): void {
  if (typeof name !== 'string' || name === '' || name.length > 512) {
    throw new InvalidOption(`A task name is text of 1 to 512 characters, not ${JSON.stringify(name)}`, 'name it like "email.sendWelcome"')
  }
  if (priority !== undefined && !within(priority, -32_768, 32_767)) {
    throw new InvalidOption(`Task "${name}": priority is an integer from -32768 to 32767, not ${priority}`)
  }
}

const within = (value: number, least: number, most: number) => Number.isInteger(value) && value >= least && value <= most

/** Only V8 can tell who called; elsewhere the place is unknown. */
function callerOf(callee: (...args: never) => unknown): string | undefined {
  const trace: { stack?: string } = {}
  if (typeof Error.captureStackTrace !== 'function') return undefined
  Error.captureStackTrace(trace, callee)
  const place = /(?:\(|at )((?:file:\/\/|\/|[A-Za-z]:\\).*:\d+):\d+\)?$/m.exec(trace.stack ?? '')?.[1]
  return place?.startsWith('file://') ? decodeURI(place.slice('file://'.length)) : place
}
