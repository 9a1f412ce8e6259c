import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { serverAccount, type Account } from './embedded/account.js'
import { findBinaries, type Binaries } from './embedded/binaries.js'
import { clusterExists, createCluster, resetPassword, SUPERUSER } from './embedded/cluster.js'
import { withLock } from './embedded/lock.js'
import { placeDataDir } from './embedded/place.js'
import { findPostmaster, startPostmaster, stopPostmaster, whenReady, type Postmaster } from './embedded/postmaster.js'
import { alive } from './embedded/process.js'
import { readState, writeState, type State } from './embedded/state.js'

export { EmbeddedError, type EmbeddedErrorCode } from './embedded/error.js'

const MAX_KNOCKS = 100
const KNOCK_EVERY_MS = 50
const WRONG_PASSWORD = '28P01'

export interface EmbeddedOptions {
  /** Where the cluster lives, for example `.reproq/pg18`. `postgres.json` and `postgres.lock` are kept beside it. */
  dataDir: string
  /** Server settings, as in postgresql.conf. They apply when this call starts the server, not when it finds one. */
  settings?: Record<string, string>
}

export interface Embedded {
  url: string
  version: string
  port: number
  pid: number
  dataDir: string
  /** Set when the data is not at the folder asked for, with the reason, in a sentence for people. */
  relocated?: string
  /** The server was already running: another process uses it too, or one that used it was killed. */
  reused: boolean
  /** Leaves the server; the last to leave shuts it down and waits until it is. */
  stop(): Promise<void>
}

/**
 * A real PostgreSQL from npm for development and tests, found again when it runs, started when it does not, created
 * when there is none. It outlives a killed process of ours, and the next start finds it.
 */
export async function startEmbedded({ dataDir, settings = {} }: EmbeddedOptions): Promise<Embedded> {
  const wanted = resolve(dataDir)
  const account = serverAccount(wanted)
  const place = placeDataDir(wanted, account)
  const server = { stateFolder: dirname(wanted), dataDir: place.dataDir, account, binaries: findBinaries(account) }
  return withLock(server.stateFolder, async () => {
    const { postmaster, state, reused } = (await attach(server)) ?? (await start(server, settings))
    const { pid, port } = postmaster
    writeState(server.stateFolder, { ...state, pid, port, users: [...state.users, process.pid] })
    return {
      ...place,
      url: `postgres://${SUPERUSER}:${state.password}@127.0.0.1:${port}/postgres`,
      version: server.binaries.version,
      port,
      pid,
      reused,
      stop: once(() => withLock(server.stateFolder, () => leave(server))),
    }
  })
}

/** Deletes a cluster; a server that still runs on it is stopped, whoever uses it. */
export async function removeEmbedded(dataDir: string): Promise<void> {
  const wanted = resolve(dataDir)
  const account = serverAccount(wanted)
  const place = placeDataDir(wanted, account)
  await withLock(dirname(wanted), async () => {
    if (findPostmaster(place.dataDir)) await stopPostmaster(findBinaries(account), place.dataDir, account)
    rmSync(place.dataDir, { recursive: true, force: true })
  })
}

interface Server {
  stateFolder: string
  dataDir: string
  account: Account | undefined
  binaries: Binaries
}

interface Running {
  postmaster: Postmaster
  state: State
  reused: boolean
}

/** A running server we can log in to; one that we cannot (its password is lost) is stopped. */
async function attach(server: Server): Promise<Running | undefined> {
  const state = readState(server.stateFolder)
  for (let attempt = 1; ; attempt++) {
    const postmaster = await whenReady(server.dataDir)
    if (postmaster === undefined) return undefined
    const answer = state === undefined ? 'refused' : await knock(postmaster.port, state.password)
    if (answer === 'welcome' && state !== undefined) return { postmaster, state: { ...state, users: state.users.filter(alive) }, reused: true }
    // Silent: killed or stopped this instant, and gone at the next look. One that stays silent is of no use to anybody.
    if (answer === 'refused' || attempt === MAX_KNOCKS) {
      await stopPostmaster(server.binaries, server.dataDir, server.account)
      return undefined
    }
    await delay(KNOCK_EVERY_MS)
  }
}

async function start({ binaries, dataDir, stateFolder, account }: Server, settings: Record<string, string>): Promise<Running> {
  const known = readState(stateFolder)?.password
  const password = known ?? randomBytes(24).toString('base64url')
  const state: State = { password, dataDir, port: null, pid: null, users: [] }
  writeState(stateFolder, state) // Before the cluster has it: a kill in between must not lock us out.
  if (!clusterExists(dataDir, binaries)) await createCluster(binaries, dataDir, password, account)
  else if (known === undefined) await resetPassword(binaries, dataDir, password, account)
  return { postmaster: await startPostmaster(binaries, dataDir, settings, account), state, reused: false }
}

async function leave({ binaries, dataDir, stateFolder, account }: Server): Promise<void> {
  const state = readState(stateFolder)
  if (state !== undefined) {
    const ours = state.users.indexOf(process.pid)
    const others = state.users.filter((pid, at) => at !== ours && alive(pid))
    if (others.length > 0 && findPostmaster(dataDir) !== undefined) return writeState(stateFolder, { ...state, users: others })
    writeState(stateFolder, { ...state, pid: null, port: null, users: [] })
  }
  await stopPostmaster(binaries, dataDir, account)
}

async function knock(port: number, password: string): Promise<'welcome' | 'refused' | 'silent'> {
  const client = new pg.Client({ host: '127.0.0.1', port, user: SUPERUSER, password, database: 'postgres', connectionTimeoutMillis: 5_000 })
  try {
    await client.connect()
    return 'welcome'
  } catch (error) {
    return (error as { code?: string }).code === WRONG_PASSWORD ? 'refused' : 'silent'
  } finally {
    await client.end()
  }
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined
  return () => (done ??= work())
}
