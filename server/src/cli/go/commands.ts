import { cancel } from '../../runs/cancel.js'
import { find } from '../../runs/find.js'
import { pruneAll } from '../../runs/prune.js'
import { newestOfHash, replay } from '../../runs/replay.js'
import { failure } from '../failure.js'
import { write } from '../output.js'
import { withPool } from '../pool.js'
import { goFlags, idOf, isSet, numberOf } from './flags.js'

/** A command of the Go worker; the words behind its name. Prints as that one does. */
export async function runGoCommand([command = '', ...words]: readonly string[]): Promise<void> {
  switch (command) {
    case 'worker':
      return (await import('./worker.js')).goWorker(words)
    case 'beat':
      return (await import('./beat.js')).goBeat(words)
    case 'limit':
      return (await import('./limit.js')).goLimit(words)
    case 'triage':
      return (await import('./triage.js')).goTriage(words)
    case 'replay':
      return goReplay(words)
    case 'cancel':
      return goCancel(words)
    default:
      return goPrune(words.slice(1))
  }
}

async function goReplay(words: readonly string[]): Promise<void> {
  const flags = goFlags('replay', words, ['dsn', 'id', 'spec-hash'])
  const hash = flags['spec-hash']
  if ((flags.id === undefined) === (hash === undefined)) throw failure('INVALID_USAGE', 'replay needs -id or -spec-hash, one of them', 'reproq replay -id 42')
  await withPool(flags.dsn, async (pool) => {
    const id = hash === undefined ? idOf(flags.id) : await newestOfHash(pool, hash)
    if (id === undefined) throw failure('RUN_NOT_FOUND', `No task has the spec_hash ${hash}`, 'hashes are in task_runs.spec_hash')
    const [result] = await replay(pool, [id])
    if (!result) throw failure('RUN_NOT_FOUND', `No task has the result_id ${id}`, 'it may have been pruned')
    if (result.outcome === 'not_final') throw failure('NOT_FINAL', `Task ${id} is not over yet`, 'wait for it, or cancel it')
    if (result.outcome === 'duplicate') throw failure('DUPLICATE', `An active task has the same spec_hash: ${result.other}`, 'wait for that one, or cancel it')
    write(`Requeued task ${id}${hash === undefined ? '' : ` (spec_hash ${hash})`} as new result_id ${result.other}\n`)
  })
}

async function goCancel(words: readonly string[]): Promise<void> {
  const flags = goFlags('cancel', words, ['dsn', 'id'])
  const id = idOf(flags.id)
  await withPool(flags.dsn, async (pool) => {
    // The Go worker cancels what is running and nothing else.
    const isRunning = (await find(pool, id))?.status === 'RUNNING'
    const [row] = isRunning ? await cancel(pool, [id]) : []
    write(row ? `Cancellation requested for task ${id}\n` : `No RUNNING task found for result_id ${id}\n`)
  })
}

async function goPrune(words: readonly string[]): Promise<void> {
  const flags = goFlags('prune expired', words, ['dsn', 'limit'], ['dry-run'])
  const limit = numberOf('-limit', flags.limit ?? '0')
  const dryRun = isSet(flags['dry-run'])
  await withPool(flags.dsn, async (pool) => {
    const { due, deleted } = await pruneAll(pool, { EXPIRED: 0 }, { dryRun, ...(limit > 0 && { limit }) })
    write(dryRun ? `Would prune ${due} expired task(s)\n` : `Pruned ${deleted} expired task(s)\n`)
  })
}
