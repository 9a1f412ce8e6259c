import type { Command } from 'commander'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { confirm } from './confirm.js'
import { followOperation } from './operate.js'
import { addOutput, at, printRow, printRows, type Format } from './output.js'

type Common = BrokerOptions & { output: Format }

/** `reproq queues`: what waits, and whether it may go on. */
export function registerQueues(program: Command): void {
  const queues = program.command('queues').description('Queues: what waits in them; pause, resume, clear.')
  const add = (usage: string) => addOutput(addBrokerOptions(queues.command(usage)))

  add('list')
    .description('queues that runs wait in, that a worker serves, or that are paused')
    .addHelpText('after', '\nExamples:\n  reproq queues list\n  reproq queues list -o json | jq ".[] | select(.workers == 0)"')
    .action(async (options: Common) =>
      printRows(options.output, await brokerOf(options).queues.list(), {
        id: ({ name }) => name,
        columns: {
          queue: (row) => row.name,
          ready: (row) => row.ready,
          blocked: (row) => row.blocked,
          scheduled: (row) => row.scheduled,
          running: (row) => row.running,
          oldest: (row) => at(row.oldest_ready_at),
          workers: (row) => row.workers,
          paused: (row) => (row.paused ? (row.reason ?? 'yes') : row.held_until ? `until ${row.held_until}` : ''),
        },
      }),
    )

  add('pause <queue>')
    .description('give out nothing of it, at once and everywhere; what runs goes on')
    .option('--reason <text>', 'for people')
    .addHelpText('after', '\nExamples:\n  reproq queues pause mail --reason "provider is down"\n  reproq queues list -o id | xargs -rn1 reproq queues pause')
    .action(async (queue: string, options: Common & { reason?: string }) => {
      const { queues: known } = brokerOf(options)
      doubt(queue, await known.list())
      await printRow(options.output, await known.pause(queue, options.reason === undefined ? {} : { reason: options.reason }), ({ name }) => name)
    })

  add('resume <queue>')
    .description('let it go on')
    .addHelpText('after', '\nExamples:\n  reproq queues resume mail\n  reproq queues resume mail -o json')
    .action(async (queue: string, options: Common) => {
      const { queues: known } = brokerOf(options)
      doubt(queue, await known.list())
      await printRow(options.output, await known.resume(queue), ({ name }) => name)
    })

  add('clear <queue>')
    .description('cancel what waits in it, scheduled runs too; what runs goes on')
    .option('--dry-run', 'only count')
    .option('--yes', 'do not ask')
    .option('--no-wait', 'begin, and do not wait for the end')
    .addHelpText('after', '\nExamples:\n  reproq queues clear mail --dry-run\n  reproq queues clear mail --yes')
    .action(async (queue: string, options: Common & { dryRun?: boolean; yes?: boolean; wait: boolean }) => {
      const reproq = brokerOf(options)
      const known = await reproq.queues.list()
      doubt(queue, known)
      const found = known.find(({ name }) => name === queue)
      const waiting = (found?.ready ?? 0) + (found?.blocked ?? 0) + (found?.scheduled ?? 0)
      if (options.dryRun) return printRow(options.output, { name: queue, waiting }, ({ name }) => name)
      await confirm(`Cancel ${waiting} waiting runs of ${queue}`, queue, options.yes)
      await followOperation(reproq, await reproq.queues.clear(queue), options.output, options.wait)
    })
}

/** A name that nothing knows may be a slip; it may as well be a queue of tomorrow. */
function doubt(queue: string, known: readonly { name: string }[]): void {
  const matches = ({ name }: { name: string }) => name === queue || (name.endsWith('*') && queue.startsWith(name.slice(0, -1)))
  if (!known.some(matches)) process.stderr.write(`no run waits in "${queue}", no worker serves it, and it is not paused; is that its name?\n`)
}
