import { existsSync, rmSync } from 'node:fs'
import { confirm } from './confirm.js'
import { DATA_FOLDER } from './dev-database.js'
import { FOLDER, isRunning, readDevState } from './dev-state.js'
import { failure } from './failure.js'

/** `reproq dev reset`: deletes what `reproq dev` keeps in this folder. A database of your own is left alone. */
export async function resetDev({ yes }: { yes?: boolean }): Promise<void> {
  if (!existsSync(FOLDER)) return void process.stderr.write(`There is nothing to delete: no ${FOLDER} in this folder\n`)
  const state = readDevState()
  if (state && (await isRunning(state))) throw failure('ALREADY_RUNNING', `reproq dev runs in this folder (${state.url}, pid ${state.pid})`, 'stop it first: Ctrl-C')
  await confirm(`Delete ${FOLDER}: the database of reproq dev with all its runs, and its token`, 'reset', yes)
  if (existsSync(DATA_FOLDER) || existsSync(`${FOLDER}/postgres.json`)) {
    const { removeEmbedded } = await import('../db/embedded.js')
    await removeEmbedded(DATA_FOLDER)
  }
  rmSync(FOLDER, { recursive: true, force: true })
  process.stderr.write(`Deleted ${FOLDER}; the next reproq dev starts empty\n`)
}
