import type { Command } from 'commander'
import { remoteTask, TaskCancelled, TaskFailed, WaitTimeout } from '../../../sdk-ts/src/index.js'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { failure } from './failure.js'

interface RunOptions extends BrokerOptions {
  args?: string
  kwargs?: string
  queue?: string
  timeout: string
}

/** `reproq run`: enqueue, wait, print the result. Exit codes: 0 done, 1 failure, 6 timed out waiting, 7 the task failed. */
export function registerRun(program: Command): void {
  addBrokerOptions(program.command('run <task> [input]'))
    .description('Enqueue a run, wait for it, and print its result as JSON.')
    .option('--args <json>', 'positional arguments, a JSON array')
    .option('--kwargs <json>', 'keyword arguments, a JSON object')
    .option('--queue <name>', 'queue')
    .option('--timeout <duration>', 'how long to wait', '60s')
    .addHelpText('after', `\nExamples:\n  reproq run hello '{"name":"Ada"}'\n  reproq run examples.python_tasks.add --args '[2, 3]'`)
    .action(async (task: string, input: string | undefined, options: RunOptions) => {
      const reproq = brokerOf(options)
      const call = callOf(input, options)
      const run = await reproq.enqueue(remoteTask<{ args: unknown[]; kwargs: Record<string, unknown> }, unknown>(task), call, options.queue === undefined ? {} : { queue: options.queue })
      try {
        process.stdout.write(`${JSON.stringify(await run.result({ timeout: options.timeout as `${number}s` }))}\n`)
      } catch (error) {
        if (error instanceof WaitTimeout) process.exitCode = 6
        else if (error instanceof TaskFailed || error instanceof TaskCancelled) process.exitCode = 7
        else throw error
        process.stderr.write(`✖ run ${run.id}  ${error.message}\n`)
      }
    })
}

function callOf(input: string | undefined, options: RunOptions): { args: unknown[]; kwargs: Record<string, unknown> } {
  if (input !== undefined && options.args !== undefined) throw failure('INVALID_OPTION', 'The input and --args are both given', 'the input is the only argument; several go into --args')
  const args = input === undefined ? json('--args', options.args ?? '[]') : [json('input', input)]
  const kwargs = json('--kwargs', options.kwargs ?? '{}')
  if (!Array.isArray(args)) throw failure('INVALID_OPTION', `--args takes a JSON array; got ${options.args}`, `one argument: --args '[{"a":1}]', by name: --kwargs '{"a":1}'`)
  if (typeof kwargs !== 'object' || kwargs === null || Array.isArray(kwargs)) throw failure('INVALID_OPTION', `--kwargs takes a JSON object; got ${options.kwargs}`, `such as --kwargs '{"a":1}'`)
  return { args, kwargs: kwargs as Record<string, unknown> }
}

function json(what: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw failure('INVALID_JSON', `${what} is not JSON: ${(error as Error).message}`, `quote it for the shell: '{"name":"Ada"}'`)
  }
}
