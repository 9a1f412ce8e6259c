import type { Command } from 'commander'
import type { Operation } from '../../../sdk-ts/src/index.js'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { whole } from './call-options.js'
import { addOutput, at, printRow, printRows, type Format } from './output.js'

type Common = BrokerOptions & { output: Format }

/** `reproq operations`: work on many runs that goes on by itself. They are begun with `runs` and `triage`. */
export function registerOperations(program: Command): void {
  const operations = program.command('operations').description('Work on many runs at once: how far it is; stop it. It is begun by runs, triage and queues.')
  const add = (usage: string) => addOutput(addBrokerOptions(operations.command(usage)))

  add('list')
    .description('newest first')
    .option('--limit <n>', 'how many at most', whole('--limit'), 50)
    .addHelpText('after', '\nExamples:\n  reproq operations list\n  reproq operations list --limit 5 -o json')
    .action(async (options: Common & { limit: number }) =>
      printRows(options.output, (await brokerOf(options).operations.list({ limit: options.limit })).operations, {
        id: ({ id }) => id,
        columns: {
          id: (row) => row.id,
          action: (row) => row.action,
          status: (row) => row.status,
          progress: (row) => `${Math.round(row.progress * 100)} %`,
          changed: (row) => row.changed,
          matched: (row) => row.matched,
          by: (row) => row.requested_by,
          began: (row) => at(row.created_at),
          error: (row) => row.error,
        },
      }),
    )

  const one = (usage: string, summary: string, ask: (options: Common, id: string) => Promise<Operation>) =>
    add(`${usage} <id>`)
      .description(summary)
      .addHelpText('after', `\nExamples:\n  reproq operations ${usage} 7\n  reproq operations ${usage} 7 -o json`)
      .action(async (id: string, options: Common) => printRow(options.output, await ask(options, id), (operation) => operation.id))
  one('get', 'one of them', (options, id) => brokerOf(options).operations.get(id))
  one('stop', 'do no more of it; what it has done stays', (options, id) => brokerOf(options).operations.stop(id))
}
