import { type Command, InvalidArgumentError, Option } from 'commander'
import type { WorkflowRun, WorkflowStatus, WorkflowSummary } from '../../../protocol/src/index.js'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { addOutput, at, printRow, printRows, write, type Format, type Listing } from './output.js'

const workflows: Listing<WorkflowSummary> = {
  id: ({ id }) => id,
  columns: {
    id: (row) => row.id,
    name: (row) => row.name,
    status: (row) => row.status,
    created: (row) => at(row.created_at),
    done: (row) => `${row.succeeded + row.failed + row.cancelled + row.skipped}/${row.total}`,
    failed: (row) => row.failed,
  },
}
const runs: Listing<WorkflowRun> = {
  id: ({ id }) => id,
  columns: {
    run: (row) => row.id,
    name: (row) => row.name,
    task: (row) => row.task,
    status: (row) => (row.skipped ? 'SKIPPED' : row.status),
    when: (row) => row.when,
    after: (row) => row.after.join(' '),
    finished: (row) => at(row.finished_at),
    error: (row) => row.last_error,
  },
}

type Options = BrokerOptions & { output: Format }

/** `reproq workflows`: runs that wait for each other, looked at and cancelled as a whole. */
export function registerWorkflows(program: Command): void {
  const group = program.command('workflows').description('Workflows: chains, groups, chords and graphs of runs')
  const command = (name: string) => addOutput(addBrokerOptions(group.command(name)))

  command('list')
    .description('newest first, without their runs')
    .addOption(new Option('--status <status>', 'only those').choices(['RUNNING', 'SUCCESSFUL', 'FAILED', 'CANCELLED']))
    .option('--limit <number>', 'how many at most', limit, 50)
    .addHelpText('after', '\nExamples:\n  reproq workflows list --status FAILED\n  reproq workflows list -o id')
    .action(async ({ output, status, limit: most, ...access }: Options & { status?: WorkflowStatus; limit: number }) => {
      const found = await brokerOf(access).workflows.list({ ...(status && { status }), limit: most })
      await printRows(output, found.workflows, workflows)
    })
  command('get <id>')
    .description('one, with its runs and what each waits for')
    .addHelpText('after', '\nExamples:\n  reproq workflows get 0f8fad5b-d9cb-469f-a165-70867728950e\n  reproq workflows get 0f8fad5b-d9cb-469f-a165-70867728950e -o json')
    .action(async (id: string, { output, ...access }: Options) => {
      const { runs: members, ...summary } = await brokerOf(access).workflows.get(id)
      if (output !== 'table') return printRow(output, { ...summary, runs: members }, workflows.id)
      await printRow(output, summary, workflows.id)
      write('\n')
      await printRows(output, members, runs)
    })
  command('cancel <id>')
    .description('cancel every run of it that has not ended')
    .addHelpText('after', '\nExamples:\n  reproq workflows cancel 0f8fad5b-d9cb-469f-a165-70867728950e')
    .action(async (id: string, { output, ...access }: Options) => printRow(output, { id, ...(await brokerOf(access).workflows.cancel(id)) }, (row) => row.id))
}

function limit(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= 1_000) return value
  throw new InvalidArgumentError('It takes a whole number from 1 to 1000.')
}
