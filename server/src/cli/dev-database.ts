import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { configOf } from './settings-options.js'
import { databaseOf } from './database.js'
import { failure } from './failure.js'

export const DATA_FOLDER = '.reproq/pg18'
const LOOK_MS = 500

export interface DevDatabase {
  url: string
  /** For people, behind "postgres". */
  description: string
  note?: string | undefined
  stop?: () => Promise<void>
  /** Tells a server that we started to end, and does not wait. */
  kill?: () => void
  /** Rejects when a server that we started is gone. */
  lost: Promise<never>
}

/** A server of our own that is deleted when it stops. */
export async function startEphemeral(): Promise<DevDatabase & { folder: string; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'reproq-'))
  // Where Postgres may not run as we do, its account must come in.
  chmodSync(folder, 0o755)
  const database = await startOwn(join(folder, 'pg18'), 'kept nowhere')
  const stop = async () => {
    await database.stop()
    await (await import('../db/embedded.js')).removeEmbedded(join(folder, 'pg18'))
    rmSync(folder, { recursive: true, force: true })
  }
  return { ...database, folder, stop }
}

/** Yours, if one is named; else one of our own. */
export async function startDatabase(options: Record<string, unknown>): Promise<DevDatabase> {
  if (options.ephemeral) return startEphemeral()
  const { databaseUrl } = configOf(options)
  if (databaseUrl !== '') {
    const url = databaseOf(databaseUrl)
    return { url, description: `yours, ${new URL(url).host}`, lost: new Promise(() => {}) }
  }
  return startOwn(DATA_FOLDER, DATA_FOLDER)
}

async function startOwn(dataDir: string, place: string): Promise<DevDatabase & { stop(): Promise<void> }> {
  const started = performance.now()
  const { startEmbedded } = await import('../db/embedded.js')
  const server = await startEmbedded({ dataDir })
  const seconds = ((performance.now() - started) / 1_000).toFixed(1)
  let stopping = false
  return {
    url: server.url,
    description: `${server.version} embedded, ${server.relocated ? server.dataDir : place} (port ${server.port})   ${seconds} s`,
    note: server.relocated,
    stop: () => {
      stopping = true
      return server.stop()
    },
    // Postgres' own fast shutdown, without waiting for it.
    kill: () => {
      stopping = true
      process.kill(server.pid, 'SIGINT')
    },
    lost: loss(server.pid, () => stopping),
  }
}

async function loss(pid: number, isMeant: () => boolean): Promise<never> {
  while (isAlive(pid) || isMeant()) await delay(LOOK_MS, undefined, { ref: false })
  throw failure('DATABASE_LOST', `The embedded PostgreSQL (process ${pid}) has ended: it was killed, or the machine ran out of memory`, 'start again; what was committed is in .reproq and will be found')
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // It runs as another user, and is there.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
