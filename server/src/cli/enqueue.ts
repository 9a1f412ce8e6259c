import type { Command } from 'commander'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { addCallOptions, anyTask, callOf, enqueueOptionsOf, type CallOptions } from './call-options.js'
import { write } from './output.js'

/** `reproq enqueue`: asks for a run and prints its id. */
export function registerEnqueue(program: Command): void {
  addCallOptions(addBrokerOptions(program.command('enqueue <task> [input]')))
    .description('Enqueue a run and print its id.')
    .addHelpText('after', `\nExamples:\n  reproq enqueue hello '{"name":"Ada"}' --delay 10m\n  reproq runs wait "$(reproq enqueue mypkg.tasks.add --args '[2, 3]')"`)
    .action(async (task: string, input: string | undefined, options: CallOptions & BrokerOptions) => {
      const run = await brokerOf(options).enqueue(anyTask(task), callOf(input, options), enqueueOptionsOf(options))
      if (run.deduplicated) process.stderr.write(`run ${run.id} existed already\n`)
      write(`${run.id}\n`)
    })
}
