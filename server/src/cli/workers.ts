import type { Command } from 'commander'
import type { Reproq } from '../../../sdk-ts/src/index.js'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { failure } from './failure.js'
import { addOutput, at, printRow, printRows, type Format } from './output.js'

type Common = BrokerOptions & { output: Format }

/** `reproq workers`: who is there; tell one to leave. */
export function registerWorkers(program: Command): void {
  const workers = program.command('workers').description('Workers: who is there; drain or stop one.')
  const add = (usage: string) => addOutput(addBrokerOptions(workers.command(usage)))

  add('list')
    .description('workers of all brokers, and of other programs that list themselves')
    .addHelpText('after', '\nExamples:\n  reproq workers list\n  reproq workers list -o id')
    .action(async (options: Common) =>
      printRows(options.output, await brokerOf(options).workers.list(), {
        id: ({ name }) => name,
        columns: {
          worker: (row) => row.name,
          host: (row) => row.hostname,
          queues: (row) => row.queues.join(' '),
          running: (row) => `${row.running}/${row.concurrency ?? '?'}`,
          connected: (row) => row.connected,
          seen: (row) => at(row.last_seen_at),
          started: (row) => at(row.started_at),
          version: (row) => row.version,
        },
      }),
    )

  for (const [how, summary] of [['drain', 'let it finish what it runs, take no more, and end'], ['stop', 'let it give back what it runs, at no cost for the runs, and end']] as const) {
    add(`${how} <worker>`)
      .description(`${summary}; its name, or what stands before the #`)
      .addHelpText('after', `\nExamples:\n  reproq workers ${how} web-1-4711\n  reproq workers list -o id | xargs -n1 reproq workers ${how}`)
      .action(async (given: string, options: Common) => {
        const reproq = brokerOf(options)
        const name = given.includes('#') ? given : await wholeName(reproq, given)
        const result = await reproq.workers[how](name)
        if (!result.told) process.stderr.write(`${name} has no session with a broker: it is a worker of another kind, or it is dead\n`)
        await printRow(options.output, result, (one) => one.name)
      })
  }
}

/** The one connected worker whose name begins so, before its `#`; else the name as it was given. */
async function wholeName(reproq: Reproq, given: string): Promise<string> {
  const workers = await reproq.workers.list()
  const meant = workers.filter(({ name, connected }) => connected && name.startsWith(`${given}#`)).map(({ name }) => name)
  if (workers.some(({ name }) => name === given) || meant.length === 0) return given
  if (meant.length > 1) throw failure('INVALID_USAGE', `"${given}" is ${meant.length} workers: ${meant.join(', ')}`, 'give one of these names')
  return meant[0] as string
}
