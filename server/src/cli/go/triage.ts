import type { RunSummary } from '../../../../protocol/src/index.js'
import { find, list } from '../../runs/find.js'
import { countOperation, findOperation, startOperation, stepOperation } from '../../runs/operation.js'
import { requeue } from '../../runs/requeue.js'
import type { Pool } from '../../db/pool.js'
import { failure } from '../failure.js'
import { plain, write } from '../output.js'
import { withPool } from '../pool.js'
import { columns } from './columns.js'
import { goFlags, idOf, isSet, numberOf } from './flags.js'

const USAGE = 'Usage: reproq triage <list|inspect|retry> [flags]\n'

/** Dead letters, in the words of the Go worker. */
export async function goTriage([verb, ...words]: readonly string[]): Promise<void> {
  switch (verb) {
    case 'list':
      return goList(words)
    case 'inspect':
      return inspect(words)
    case 'retry':
      return retry(words)
    default:
      write(USAGE)
  }
}

async function goList(words: readonly string[]): Promise<void> {
  const { dsn, limit = '50', queue } = goFlags('triage list', words, ['dsn', 'limit', 'queue'])
  await withPool(dsn, async (pool) => {
    const runs = await list(pool, { status: 'FAILED', queue, limit: numberOf('-limit', limit) })
    const row = (run: RunSummary) => [run.id, run.queue, run.task, String(run.attempts), run.finished_at ?? '', plain(run.last_error ?? '').replace(/\s+/g, ' ')]
    write(runs.length === 0 ? 'No failed tasks.\n' : columns([['ID', 'Queue', 'Task', 'Attempts', 'FailedAt', 'LastError'], ...runs.map(row)]))
  })
}

async function inspect(words: readonly string[]): Promise<void> {
  const { dsn, id: given } = goFlags('triage inspect', words, ['dsn', 'id'])
  const id = idOf(given)
  await withPool(dsn, async (pool) => {
    const found = await find(pool, id)
    if (found?.status !== 'FAILED') throw failure('RUN_NOT_FOUND', `No failed task has the result_id ${id}`, 'reproq triage list')
    const run = JSON.parse(found.json) as RunSummary & { args: unknown; kwargs: unknown; errors: unknown; worker_ids: string[] }
    const lines: [string, string][] = [
      ['Result ID', run.id],
      ['Queue', run.queue],
      ['Task', run.task],
      ['Status', run.status],
      ['Attempts', `${run.attempts}/${run.max_attempts}`],
      ['Enqueued At', run.enqueued_at],
      ['Failed At', run.finished_at ?? ''],
      ['Last Error', plain(run.last_error ?? '')],
      ['Workers', run.worker_ids.join(', ')],
      ['Spec JSON', JSON.stringify({ task_path: run.task, args: run.args, kwargs: run.kwargs }, null, 2)],
      ['Errors JSON', JSON.stringify(run.errors, null, 2)],
    ]
    write(lines.map(([label, text]) => `${label}: ${text}\n`).join(''))
  })
}

async function retry(words: readonly string[]): Promise<void> {
  const flags = goFlags('triage retry', words, ['dsn', 'id'], ['all'])
  if ((flags.id === undefined) === !isSet(flags.all)) throw failure('INVALID_USAGE', 'triage retry needs -id or -all, one of them', 'reproq triage retry -id 42')
  await withPool(flags.dsn, async (pool) => {
    const retried = flags.id === undefined ? await retryAll(pool) : (await requeue(pool, [idOf(flags.id)])).filter(({ outcome }) => outcome === 'retried').length
    write(retried > 0 ? `Retried ${retried} task(s)\n` : 'No failed tasks updated.\n')
  })
}

/** As an operation, in steps: one statement over all of them would fail with the first twin. */
async function retryAll(pool: Pool): Promise<number> {
  const { matched, complete } = await countOperation(pool, 'retry', { status: 'FAILED' })
  if (matched === 0 && complete) return 0
  const { id } = await startOperation(pool, 'retry', { status: 'FAILED' }, 'triage retry')
  // A broker may be at it as well; then its steps count here too.
  let status = await stepOperation(pool, id)
  for (; status === 'RUNNING' || status === null; status = await stepOperation(pool, id)) {
    if ((await findOperation(pool, id))?.status !== 'RUNNING') break
  }
  const operation = await findOperation(pool, id)
  for (const { run, other, error } of operation?.unchanged ?? []) process.stderr.write(`task ${run} was left: ${error ?? `an active one has its spec_hash (${other})`}\n`)
  if (operation?.error) process.stderr.write(`operation ${id} failed: ${operation.error}\n`)
  return operation?.changed ?? 0
}
