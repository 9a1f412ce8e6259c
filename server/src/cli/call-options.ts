import { type Command } from 'commander'
import type { Duration } from '../../../sdk-ts/src/index.js'
import type { EnqueueOptions } from '../../../sdk-ts/src/enqueue-request.js'
import { remoteTask } from '../../../sdk-ts/src/index.js'
import { failure } from './failure.js'

export interface CallOptions {
  args?: string
  kwargs?: string
  queue?: string
  priority?: number
  delay?: string
  maxAttempts?: number
  key?: string
}

export interface Call {
  args: unknown[]
  kwargs: Record<string, unknown>
}

/** A task of another program: what it takes and returns is not known here. */
export const anyTask = (name: string) => remoteTask<Call, unknown>(name)

/** What is called, and how: `run` and `enqueue` take the same. */
export function addCallOptions(command: Command): Command {
  return command
    .option('--args <json>', 'positional arguments, a JSON array')
    .option('--kwargs <json>', 'keyword arguments, a JSON object')
    .option('--queue <name>', 'queue')
    .option('--priority <n>', 'higher runs first', whole('--priority'))
    .option('--delay <duration>', 'not before this much time has passed, such as 10m')
    .option('--max-attempts <n>', 'how often it is tried, the first time included', whole('--max-attempts'))
    .option('--key <key>', 'idempotency key: of all enqueues of the task with it, one makes a run')
}

/** Throws INVALID_OPTION or INVALID_JSON. */
export function callOf(input: string | undefined, options: CallOptions): Call {
  if (input !== undefined && options.args !== undefined) throw failure('INVALID_OPTION', 'The input and --args are both given', 'the input is the only argument; several go into --args')
  const args = input === undefined ? json('--args', options.args ?? '[]') : [json('input', input)]
  const kwargs = json('--kwargs', options.kwargs ?? '{}')
  if (!Array.isArray(args)) throw failure('INVALID_OPTION', `--args takes a JSON array; got ${options.args}`, `one argument: --args '[{"a":1}]', by name: --kwargs '{"a":1}'`)
  if (typeof kwargs !== 'object' || kwargs === null || Array.isArray(kwargs)) throw failure('INVALID_OPTION', `--kwargs takes a JSON object; got ${options.kwargs}`, `such as --kwargs '{"a":1}'`)
  return { args, kwargs: kwargs as Record<string, unknown> }
}

export function enqueueOptionsOf({ queue, priority, delay, maxAttempts, key }: CallOptions): EnqueueOptions {
  return {
    ...(queue !== undefined && { queue }),
    ...(priority !== undefined && { priority }),
    ...(delay !== undefined && { delay: delay as Duration }),
    ...(maxAttempts !== undefined && { maxAttempts }),
    ...(key !== undefined && { idempotencyKey: key }),
  }
}

/** Reads an option that is a whole number. */
export function whole(flag: string) {
  return (text: string): number => {
    if (/^-?\d+$/.test(text)) return Number(text)
    throw failure('INVALID_OPTION', `${flag} is "${text}"`, 'it takes a whole number')
  }
}

function json(what: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw failure('INVALID_JSON', `${what} is not JSON: ${(error as Error).message}`, `quote it for the shell: '{"name":"Ada"}'`)
  }
}
