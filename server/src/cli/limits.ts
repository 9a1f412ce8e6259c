import { type Command, Option } from 'commander'
import type { Limit, LimitRequest, LimitUnit } from '../../../protocol/src/index.js'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { failure } from './failure.js'
import { addOutput, printRow, printRows, type Format, type Listing } from './output.js'

const KEYS = 'task:<name>, queue:<name>, global, or key:<rate key>'

const listing: Listing<Limit> = {
  id: ({ key }) => key,
  columns: {
    key: (row) => row.key,
    rate: (row) => (row.active ? `${row.limit} per ${row.per}` : 'off'),
    burst: (row) => row.burst,
    'free now': (row) => (row.tokens === null ? null : Math.floor(row.tokens)),
  },
}

/** `reproq limits`: rate limits. */
export function registerLimits(program: Command): void {
  const limits = program.command('limits').description(`How many runs may start in a stretch of time: of a task, else of its queue, else of everything; and of a rate key besides.`)

  addOutput(addBrokerOptions(limits.command('list')))
    .description('the limits there are')
    .addHelpText('after', '\nExamples:\n  reproq limits list\n  reproq limits list -o json')
    .action(async ({ output, ...access }: BrokerOptions & { output: Format }) => printRows(output, await brokerOf(access).limits.list(), listing))

  addOutput(addBrokerOptions(limits.command('set')))
    .argument('<key>', KEYS)
    .addOption(new Option('--rate <rate>', 'so many per second, minute, hour or day: 10/s, 100/m, 1000/h, 5/d; off').argParser(rateOf).makeOptionMandatory())
    .addOption(new Option('--burst <n>', 'so many at once after a pause; default: the number in --rate').argParser(burstOf))
    .description('make a limit or change it; holds at once')
    .addHelpText('after', '\nExamples:\n  reproq limits set queue:mail --rate 100/m --burst 10\n  reproq limits set key:customer-42 --rate 5/s\n  reproq limits set task:report.build --rate off    not limited, not even by its queue')
    .action(async (key: string, { output, rate, burst, ...access }: BrokerOptions & { output: Format; rate: Omit<LimitRequest, 'burst'>; burst?: number }) => {
      await printRow(output, await brokerOf(access).limits.set(key, { ...rate, ...(burst !== undefined && { burst }) }), listing.id)
    })

  addOutput(addBrokerOptions(limits.command('rm')))
    .argument('<key>', KEYS)
    .description('remove a limit; a more general one may apply then, and of a rate key what its runs say')
    .addHelpText('after', '\nExample:\n  reproq limits rm queue:mail')
    .action(async (key: string, { output, ...access }: BrokerOptions & { output: Format }) => {
      await brokerOf(access).limits.remove(key)
      await printRows(output, [{ key, outcome: 'removed' }], { id: (row) => row.key, columns: { key: (row) => row.key, outcome: (row) => row.outcome } })
    })
}

const UNITS: Record<string, LimitUnit> = { s: 'second', m: 'minute', h: 'hour', d: 'day', second: 'second', minute: 'minute', hour: 'hour', day: 'day' }

export function rateOf(text: string): Omit<LimitRequest, 'burst'> {
  if (text === 'off') return { limit: 0, per: 'second' }
  const [, limit, unit = ''] = /^(\d+(?:\.\d+)?)\/([a-z]+)$/.exec(text) ?? []
  const per = UNITS[unit]
  if (limit === undefined || per === undefined) throw failure('INVALID_RATE', `--rate is "${text}"`, 'give a number and a unit, such as 10/s, 100/m, 1000/h or 5/d; or off')
  return { limit: Number(limit), per }
}

function burstOf(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value > 0) return value
  throw failure('INVALID_BURST', `--burst is "${text}"`, 'give a whole number of at least 1')
}
