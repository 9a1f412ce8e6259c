import type { Command } from 'commander'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { whole } from './call-options.js'
import { addFilterOptions, filterOf, type FilterOptions } from './filter-options.js'
import { failure } from './failure.js'
import { operate, type OperateOptions } from './operate.js'
import { addOutput, at, printRows, type Format } from './output.js'
import { printOutcomes } from './outcomes.js'
import { printRun } from './print-run.js'
import { addOperate, listRuns } from './runs.js'

type Common = BrokerOptions & { output: Format }

/** `reproq triage`: dead letters, which are the runs that FAILED. */
export function registerTriage(program: Command): void {
  const triage = program.command('triage').description('Dead letters: runs that have failed for good. With --dsn, as the Go worker does it (reproq help compat).')
  const add = (usage: string) => addOutput(addBrokerOptions(triage.command(usage)))

  addFilterOptions(add('list'), { status: false })
    .description('dead letters, newest first')
    .option('--limit <n>', 'how many at most', whole('--limit'), 50)
    .addHelpText('after', '\nExamples:\n  reproq triage list\n  reproq triage list --queue mail --error timeout -o id')
    .action(async (options: Common & FilterOptions & { limit: number }) => {
      const runs = await listRuns(brokerOf(options), { ...options, status: 'FAILED' }, options.limit)
      await printRows(options.output, runs, {
        id: ({ id }) => id,
        columns: { id: (run) => run.id, queue: (run) => run.queue, task: (run) => run.task, attempts: (run) => run.attempts, failed: (run) => at(run.finished_at), error: (run) => run.last_error },
      })
    })

  add('inspect <id>')
    .description('one of them, with its arguments and the error of every attempt')
    .addHelpText('after', '\nExamples:\n  reproq triage inspect 42\n  reproq triage inspect 42 -o json | jq -r .errors[-1].traceback')
    .action(async (id: string, options: Common) => {
      const run = await brokerOf(options).get(id)
      if (run.status !== 'FAILED') throw failure('RUN_NOT_FOUND', `Run ${id} has not failed: it is ${run.status}`, `reproq runs get ${id}`)
      await printRun(options.output, run)
    })

  addOperate(addFilterOptions(add('retry [ids...]'), { status: false }))
    .description('give them all their attempts again: some, or all that a filter means')
    .option('--all', 'every one there is')
    .addHelpText('after', '\nExamples:\n  reproq triage retry 42 43\n  reproq triage retry --task mail.send --error timeout --dry-run')
    .action(async (ids: string[], options: Common & FilterOptions & Omit<OperateOptions, 'output'> & { all?: boolean }) => {
      const reproq = brokerOf(options)
      if (ids.length > 0) return printOutcomes(options.output, await reproq.retry(ids))
      const filter = filterOf(options)
      if (Object.keys(filter).length === 0 && !options.all) throw failure('INVALID_USAGE', 'Which dead letters to retry?', 'give ids, a filter, or --all')
      return operate(reproq, { action: 'retry', filter: { ...filter, status: 'FAILED' } }, options)
    })

  add('replay [ids...]')
    .description('make a new run like each of these; the old ones stay as they are')
    .option('--spec-hash <hash>', 'like the newest run with this hash')
    .addHelpText('after', '\nExamples:\n  reproq triage replay 42\n  reproq triage replay --spec-hash 2d6721014757fa10799d528b6b15aee6c76a841b9ea74e187875f4abfcdbedd5')
    .action(async (ids: string[], options: Common & { specHash?: string }) => {
      if ((ids.length > 0) === (options.specHash !== undefined)) throw failure('INVALID_USAGE', 'Which run to replay?', 'give ids, or --spec-hash')
      await printOutcomes(options.output, await brokerOf(options).replay(options.specHash === undefined ? ids : { specHash: options.specHash }))
    })
}
