import type { Command } from 'commander'
import type { Reproq, RunSummary } from '../../../sdk-ts/src/index.js'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { whole } from './call-options.js'
import { addFilterOptions, filterOf, type FilterOptions } from './filter-options.js'
import { failure } from './failure.js'
import { printLogs, type LogsOptions } from './logs.js'
import { operate, type OperateOptions } from './operate.js'
import { addOutput, at, printRows, type Format, type Listing } from './output.js'
import { printOutcomes } from './outcomes.js'
import { printRun } from './print-run.js'
import { firstAnswer, printResult } from './wait.js'

type Common = BrokerOptions & { output: Format }
type Many = Common & FilterOptions & Omit<OperateOptions, 'output'>

const PAGE = 1_000
export const runListing: Listing<RunSummary> = {
  id: ({ id }) => id,
  columns: {
    id: (run) => run.id,
    task: (run) => run.task,
    queue: (run) => run.queue,
    status: (run) => run.status,
    attempts: (run) => `${run.attempts}/${run.max_attempts}`,
    enqueued: (run) => at(run.enqueued_at),
    finished: (run) => at(run.finished_at),
    error: (run) => run.last_error,
  },
}

/** `reproq runs`: look at runs, wait for them, change them. */
export function registerRuns(program: Command): void {
  const runs = program.command('runs').description('Look at runs, wait for them, cancel, retry, replay and delete them.')
  const add = (usage: string) => addOutput(addBrokerOptions(runs.command(usage)))

  addFilterOptions(add('list'))
    .description('runs, newest first')
    .option('--limit <n>', 'how many at most; more than a page are fetched page by page', whole('--limit'), 50)
    .addHelpText('after', '\nExamples:\n  reproq runs list --status failed --finished-after 1d\n  reproq runs list --queue mail -o id | xargs -r reproq runs cancel')
    .action(async (options: Common & FilterOptions & { limit: number }) => printRows(options.output, await listRuns(brokerOf(options), options, options.limit), runListing))

  add('get <id>')
    .description('one run, whole')
    .addHelpText('after', '\nExamples:\n  reproq runs get 42\n  reproq runs get 42 -o json | jq .errors')
    .action(async (id: string, options: Common) => printRun(options.output, await brokerOf(options).get(id)))

  addBrokerOptions(runs.command('wait <id>'))
    .description('wait for a run and print its result as JSON; ends with 7 when it failed, with 6 when time is up')
    .option('--timeout <duration>', 'how long to wait', '60s')
    .addHelpText('after', '\nExamples:\n  reproq runs wait 42\n  reproq runs wait 42 --timeout 10m')
    .action(async (id: string, options: BrokerOptions & { timeout: string }) => {
      const run = brokerOf(options).handle(id)
      await firstAnswer(run, options.timeout)
      await printResult(run, options.timeout)
    })

  addOutput(addBrokerOptions(runs.command('logs <id>')))
    .description('what the code of a run has printed')
    .option('-f, --follow', 'go on until the run is over')
    .option('--attempt <n>', 'of this attempt alone', whole('--attempt'))
    .addHelpText('after', '\nExamples:\n  reproq runs logs 42 -f\n  reproq runs logs 42 --attempt 2 -o jsonl')
    .action((id: string, options: Common & LogsOptions) => printLogs(brokerOf(options).handle(id), options))

  const many = (action: 'cancel' | 'retry' | 'replay', summary: string, byId: (reproq: Reproq, ids: string[], format: Format) => Promise<void>) =>
    addOperate(addFilterOptions(add(`${action} [ids...]`)))
      .description(summary)
      .addHelpText('after', `\nExamples:\n  reproq runs ${action} 42 43\n  reproq runs ${action} --queue mail --enqueued-before 1h --dry-run`)
      .action(async (ids: string[], options: Many) => {
        if (ids.length > 0) return byId(brokerOf(options), ids, options.output)
        return operate(brokerOf(options), { action, filter: needed(action, options) }, options)
      })
  many('cancel', 'cancel runs, by id or all that a filter means', cancelEach)
  many('retry', 'retry runs that failed or were cancelled, by id or all that a filter means', async (reproq, ids, format) => printOutcomes(format, await reproq.retry(ids)))
  many('replay', 'make a new run like each of these, by id or all that a filter means', async (reproq, ids, format) => printOutcomes(format, await reproq.replay(ids)))

  addOperate(addFilterOptions(add('purge')))
    .description('delete runs that are over, all that a filter means')
    .addHelpText('after', '\nExamples:\n  reproq runs purge --status successful --finished-before 30d --dry-run\n  reproq runs purge --queue mail --status failed --yes')
    .action((options: Many) => operate(brokerOf(options), { action: 'delete', filter: needed('purge', options) }, options))
}

export function addOperate(command: Command): Command {
  return command.option('--dry-run', 'only count').option('--yes', 'do not ask').option('--no-wait', 'begin, and do not wait for the end')
}

export async function listRuns(reproq: Reproq, options: FilterOptions, limit: number): Promise<RunSummary[]> {
  const found: RunSummary[] = []
  let cursor: string | undefined
  do {
    const page = await reproq.list({ ...filterOf(options), limit: Math.min(PAGE, limit - found.length), ...(cursor !== undefined && { cursor }) })
    found.push(...page.runs)
    cursor = page.next_cursor ?? undefined
  } while (cursor !== undefined && found.length < limit)
  return found
}

async function cancelEach(reproq: Reproq, ids: string[], format: Format): Promise<void> {
  const rows = []
  for (const id of ids) {
    const { status, run } = await reproq.cancel(id)
    rows.push({ id: run.id, outcome: status, status: run.status })
  }
  await printRows(format, rows, { id: (row) => row.id, columns: { id: (row) => row.id, outcome: (row) => row.outcome, status: (row) => row.status } })
}

function needed(action: string, options: FilterOptions) {
  const filter = filterOf(options)
  if (Object.keys(filter).length > 0) return filter
  throw failure('INVALID_USAGE', `Which runs to ${action}?`, 'give ids, or a filter: --status, --queue, --task, --error, --enqueued-before, …')
}
