import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EmbeddedError } from './error.js'

/** What the next start must know, kept beside the data as postgres.json, readable by its owner only. */
export interface State {
  password: string
  dataDir: string
  port: number | null
  pid: number | null
  /** Process ids that use the server; the last to leave stops it. One that was killed counts as gone. */
  users: number[]
}

export function readState(folder: string): State | undefined {
  const path = join(folder, 'postgres.json')
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as State
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new EmbeddedError(
      'EMBEDDED_FOLDER',
      `Cannot read ${path}: it belongs to another user or is damaged. Deleting it is safe: a new password is set at the next start.`,
      { cause },
    )
  }
}

export function writeState(folder: string, state: State): void {
  const path = join(folder, 'postgres.json')
  writeFileSync(`${path}.new`, JSON.stringify(state, null, 2) + '\n', { mode: 0o600 })
  renameSync(`${path}.new`, path)
}
