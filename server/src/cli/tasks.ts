import type { Command } from 'commander'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { failure } from './failure.js'
import { addOutput, at, printRow, printRows, type Format } from './output.js'

type Common = BrokerOptions & { output: Format }

/** `reproq tasks`: which tasks there have been runs of lately, and how those stand. */
export function registerTasks(program: Command): void {
  const tasks = program.command('tasks').description('Tasks, as the newest 10,000 runs show them: list, get.')
  const add = (usage: string) => addOutput(addBrokerOptions(tasks.command(usage)))

  add('list')
    .description('tasks of the newest runs, and how these stand')
    .addHelpText('after', '\nExamples:\n  reproq tasks list\n  reproq tasks list -o json | jq ".[] | select(.failed > 0)"')
    .action(async (options: Common) =>
      printRows(options.output, await brokerOf(options).tasks.list(), {
        id: ({ name }) => name,
        columns: {
          task: (row) => row.name,
          queues: (row) => row.queues.join(' '),
          ready: (row) => row.ready,
          running: (row) => row.running,
          successful: (row) => row.successful,
          failed: (row) => row.failed,
          last: (row) => at(row.last_enqueued_at),
        },
      }),
    )

  add('get <task>')
    .description('one of them')
    .addHelpText('after', '\nExamples:\n  reproq tasks get mail.send\n  reproq tasks get mail.send -o json | jq .failed')
    .action(async (name: string, options: Common) => {
      const known = await brokerOf(options).tasks.list()
      const found = known.find((one) => one.name === name)
      if (!found) throw failure('TASK_NOT_FOUND', `None of the newest runs is of the task ${JSON.stringify(name)}`, known.length > 0 ? `there are: ${known.slice(0, 10).map((one) => one.name).join(', ')}` : 'there are no runs yet')
      await printRow(options.output, found, (one) => one.name)
    })
}
