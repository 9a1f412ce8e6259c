import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What `reproq dev` leaves in `.reproq/dev.json` so that other commands and the SDK's user find it. Mode 0600. */
export interface DevState {
  pid: number
  url: string
  token: string
  /** Of Postgres, with its password: for psql, and for a producer that enqueues in its own transaction. */
  database: string
  /** Its worker runs Python tasks. */
  python: boolean
}

export const FOLDER = '.reproq'
const FILE = 'dev.json'

/** The running or last `reproq dev` of this folder; undefined when there was none. */
export function readDevState(folder = FOLDER): DevState | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, FILE), 'utf8')) as DevState
  } catch {
    // Absent or half written: the same as never started.
    return undefined
  }
}

export function writeDevState(state: DevState, folder = FOLDER): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, FILE), `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 })
  writeFileSync(join(folder, 'token'), `${state.token}\n`, { mode: 0o600 })
}

/** The database of the `reproq dev` that runs in this folder; undefined when none does. */
export function runningDevDatabase(): string | undefined {
  const state = readDevState()
  if (!state || state.pid === 0 || state.database === '') return undefined
  try {
    process.kill(state.pid, 0)
    return state.database
  } catch {
    return undefined
  }
}

/** Whether that `reproq dev` still answers. */
export async function isRunning({ pid, url }: DevState): Promise<boolean> {
  try {
    process.kill(pid, 0)
    return (await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(2_000) })).ok
  } catch {
    return false
  }
}

/** A stopped one leaves its token for the next start, and nothing that looks alive. */
export function markStopped(state: DevState, folder = FOLDER): void {
  writeDevState({ ...state, pid: 0 }, folder)
}

