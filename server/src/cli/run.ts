import type { Command } from 'commander'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { addCallOptions, anyTask, callOf, enqueueOptionsOf, type CallOptions } from './call-options.js'
import { printResult } from './wait.js'

/** `reproq run`: enqueue, wait, print the result. Exit codes: 0 done, 1 failure, 6 timed out waiting, 7 the task failed. */
export function registerRun(program: Command): void {
  addCallOptions(addBrokerOptions(program.command('run <task> [input]')))
    .description('Enqueue a run, wait for it, and print its result as JSON.')
    .option('--timeout <duration>', 'how long to wait', '60s')
    .addHelpText('after', `\nExamples:\n  reproq run hello '{"name":"Ada"}'\n  reproq run examples.python_tasks.add --args '[2, 3]'`)
    .action(async (task: string, input: string | undefined, options: CallOptions & BrokerOptions & { timeout: string }) => {
      const call = callOf(input, options)
      const run = await brokerOf(options).enqueue(anyTask(task), call, enqueueOptionsOf(options))
      await printResult(run, options.timeout)
    })
}
