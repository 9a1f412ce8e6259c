import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What `reproq dev` has in `.reproq/dev.json` while it runs, so that other commands and the SDK's user find it. Mode 0600. */
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
const TOKEN_FILE = 'token'

/** The `reproq dev` that runs in this folder, or was killed in it; undefined when there is none. */
export function readDevState(folder = FOLDER): DevState | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, FILE), 'utf8')) as DevState
  } catch {
    // Absent or half written: the same as not running.
    return undefined
  }
}

/** The token of this folder's `reproq dev`, the same at every start; undefined before the first. */
export function readDevToken(folder = FOLDER): string | undefined {
  try {
    return readFileSync(join(folder, TOKEN_FILE), 'utf8').trim() || undefined
  } catch {
    return undefined
  }
}

/**
 * Where a command finds its broker that is told nothing else: the `reproq dev` of this folder, or the default address, where that one
 * may start any moment. The folder's token is for no other address.
 */
export function devAccess(url: string | undefined, folder = FOLDER): { url: string | undefined; token: string | undefined } {
  const dev = readDevState(folder)
  const isOurs = url === undefined || url === dev?.url
  return { url: url ?? dev?.url, token: isOurs ? (dev?.token ?? readDevToken(folder)) : undefined }
}

export function writeDevState(state: DevState, folder = FOLDER): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, FILE), `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 })
  writeFileSync(join(folder, TOKEN_FILE), `${state.token}\n`, { mode: 0o600 })
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
export function forgetDevState(folder = FOLDER): void {
  if (readDevState(folder)?.pid === process.pid) rmSync(join(folder, FILE), { force: true })
}
