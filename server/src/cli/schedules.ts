import type { Command } from 'commander'
import { loadSchedules } from '../../../executor-shims/worker/src/task-modules.js'
import { defineSchedule, remoteTask } from '../../../sdk-ts/src/index.js'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { exitCodes } from './exit-codes.js'
import { failure } from './failure.js'
import { addOutput, at, exitWhenPrinted, printRow, printRows, type Format, type Listing } from './output.js'
import { registerScheduler } from './scheduler.js'

type Shown = BrokerOptions & { output: Format }
type ScheduleRow = Awaited<ReturnType<ReturnType<typeof brokerOf>['schedules']['list']>>['schedules'][number]

/** How long a command that has done its work may take to end. */
const HELD_OPEN_MS = 200
const LISTING: Listing<ScheduleRow> = {
  id: ({ name }) => name,
  columns: {
    name: (row) => row.name,
    cron: (row) => row.cron,
    zone: (row) => row.time_zone,
    task: (row) => row.task,
    state: (row) => (row.error !== null ? 'broken' : row.enabled ? 'on' : 'paused'),
    next: (row) => at(row.next_run_at),
    last: (row) => at(row.last_run_at),
    source: (row) => row.source,
    error: (row) => row.error,
  },
}
const outcomes: Listing<{ name: string; outcome: string }> = { id: ({ name }) => name, columns: { name: (row) => row.name, outcome: (row) => row.outcome } }

/** `reproq schedules`: runs by the clock. All through the broker, but pg-cron and use, which work on the database itself. */
export function registerSchedules(program: Command): void {
  const schedules = program.command('schedules').description('Runs by the clock.')
  const command = (usage: string) => addBrokerOptions(addOutput(schedules.command(usage)))

  command('list')
    .description('all schedules, and whether they fire')
    .addHelpText('after', '\nExamples:\n  reproq schedules list\n  reproq schedules list -o json')
    .action(async (options: Shown) => {
      const rows: ScheduleRow[] = []
      let cursor: string | undefined
      do {
        const page = await brokerOf(options).schedules.list({ limit: 1_000, ...(cursor !== undefined && { cursor }) })
        rows.push(...page.schedules)
        cursor = page.next_cursor ?? undefined
        if (cursor === undefined && page.scheduler.mode !== 'broker') process.stderr.write(`Brokers fire no schedules here: the scheduler of this database is "${page.scheduler.mode}"\n`)
      } while (cursor !== undefined)
      await printRows(options.output, rows, LISTING)
    })

  command('get <name>')
    .description('one schedule, its next slots and its latest runs')
    .addHelpText('after', '\nExample:\n  reproq schedules get nightly')
    .action(async (name: string, options: Shown) => printRow(options.output, await brokerOf(options).schedules.get(name), (row) => row.name))

  command('next <name-or-expression>')
    .description('when a schedule, or an expression, fires next')
    .option('-n, --count <n>', 'how many', count, 5)
    .option('--zone <zone>', 'time zone of an expression, such as Europe/Berlin')
    .addHelpText('after', "\nExamples:\n  reproq schedules next nightly\n  reproq schedules next '30 2 * * mon-fri' --zone Europe/Berlin\n  reproq schedules next '@every 90m'")
    .action(async (what: string, { count: wanted, zone, ...options }: Shown & { count: number; zone?: string }) => {
      const isExpression = /\s/.test(what.trim()) || what.startsWith('@')
      const broker = brokerOf(options).schedules
      const next = isExpression ? await broker.preview(what, { count: wanted, ...(zone !== undefined && { timeZone: zone }) }) : (await broker.get(what, { next: wanted })).next
      await printRows(options.output, next.map((instant) => ({ at: instant })), {
        id: (row) => row.at,
        // Without a terminal an instant is its own text, and would stand there twice.
        columns: { at: (row) => row.at, ...(process.stdout.isTTY && { from_now: (row: { at: string }) => at(row.at) }) },
      })
    })

  command('put <name>')
    .description('create a schedule, or replace it')
    .requiredOption('--cron <expression>', 'five fields, six with seconds in front, @daily, "@every 5m"')
    .requiredOption('--task <name>', 'what it runs')
    .option('--zone <zone>', 'time zone (default: UTC)')
    .option('--args <json>', 'positional arguments, a JSON array', '[]')
    .option('--kwargs <json>', 'keyword arguments, a JSON object', '{}')
    .option('--queue <name>', 'queue of its runs')
    .option('--priority <n>', 'higher runs first', Number)
    .option('--timeout <duration>', 'run-time limit of one attempt')
    .option('--missed <policy>', 'slots nobody fired in time: skip, last (default) or all')
    .option('--overlap <policy>', 'while a run is active: allow (default), skip or queue_one')
    .option('--jitter <duration>', 'each run up to this long after its slot')
    .addHelpText('after', "\nExample:\n  reproq schedules put nightly --cron '30 2 * * *' --zone Europe/Berlin --task reports.build --kwargs '{\"pages\":3}' --overlap skip")
    .action(async (name: string, options: Shown & PutOptions) => {
      const outcome = await brokerOf(options).schedules.put(scheduleOf(name, options))
      await printRows(options.output, [{ name, outcome }], outcomes)
    })

  command('trigger <name>')
    .description('make a run now, beside the slots')
    .addHelpText('after', '\nExample:\n  reproq schedules trigger nightly -o id')
    .action(async (name: string, options: Shown) => {
      const { id } = await brokerOf(options).schedules.trigger(name)
      await printRows(options.output, [{ id }], { id: (row) => row.id, columns: { run: (row) => row.id } })
    })

  for (const [verb, description, outcome] of [['pause', 'fire no more slots', 'paused'], ['resume', 'go on with the next slot', 'resumed'], ['delete', 'delete schedules; their runs stay', 'deleted']] as const) {
    command(`${verb} <names...>`)
      .description(description)
      .addHelpText('after', `\nExample:\n  reproq schedules ${verb} nightly`)
      .action(async (names: string[], options: Shown) => {
        const rows = []
        for (const name of names) rows.push({ name, outcome: (await isThere(brokerOf(options).schedules[verb](name))) ? outcome : 'not_found' })
        await printRows(options.output, rows, outcomes)
        if (rows.some((row) => row.outcome === 'not_found')) process.exitCode = exitCodes.NOT_FOUND
      })
  }

  command('sync <patterns...>')
    .description('make the schedules of this program what its modules export: creates, changes, and removes what is gone')
    .option('--app <name>', 'which program, where several share a database', 'default')
    .option('--if-any', 'do nothing where no module exports a schedule')
    .addHelpText('after', "\nExample:\n  reproq schedules sync 'tasks/*.ts'          at each deploy")
    .action(async (patterns: string[], { app, ifAny, ...options }: Shown & { app: string; ifAny?: boolean }) => {
      try {
        const schedules = await loadSchedules(patterns)
        if (schedules.length === 0 && ifAny) return
        if (schedules.length === 0) throw failure('INVALID_OPTION', `No file of ${patterns.join(', ')} exports a schedule, so all of "${app}" would be removed`, 'export what defineSchedule() returns; to remove them: reproq schedules delete')
        await printRows(options.output, await brokerOf(options).schedules.sync(schedules, { app }), outcomes)
      } finally {
        // What the modules hold open, a database or a timer, would keep the command from ending.
        setTimeout(() => void exitWhenPrinted(), HELD_OPEN_MS).unref()
      }
    })

  registerScheduler(schedules)
}

/** A name that is none stops nobody from going on with the others. */
async function isThere(change: Promise<unknown>): Promise<boolean> {
  try {
    await change
    return true
  } catch (error) {
    if ((error as { code?: string }).code === 'SCHEDULE_NOT_FOUND') return false
    throw error
  }
}

interface PutOptions {
  cron: string
  task: string
  zone?: string
  args: string
  kwargs: string
  queue?: string
  priority?: number
  timeout?: string
  missed?: 'skip' | 'last' | 'all'
  overlap?: 'allow' | 'skip' | 'queue_one'
  jitter?: string
}

/** What is not allowed the broker says, with the value. */
function scheduleOf(name: string, { cron, task, zone, args, kwargs, queue, priority, timeout, missed, overlap, jitter }: PutOptions) {
  const given = { timeZone: zone, queue, priority, timeout, missed, overlap, jitter }
  return defineSchedule({ name, cron, task: remoteTask(task), input: { args: json('--args', args) as unknown[], kwargs: json('--kwargs', kwargs) as Record<string, unknown> }, ...withoutUndefined(given) })
}

function withoutUndefined<Fields extends object>(fields: Fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as { [Key in keyof Fields]: NonNullable<Fields[Key]> }
}

function json(flag: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw failure('INVALID_JSON', `${flag} is not JSON: ${(error as Error).message}`, `quote it for the shell: ${flag} '${flag === '--args' ? '[1, 2]' : '{"a":1}'}'`)
  }
}

function count(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= 100) return value
  throw failure('INVALID_OPTION', `--count takes a whole number from 1 to 100; got "${text}"`, 'such as --count 10')
}
