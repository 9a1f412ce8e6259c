import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Account } from './account.js'
import type { Binaries } from './binaries.js'
import { EmbeddedError } from './error.js'
import { isPostgres } from './process.js'
import { asServer, run } from './spawn.js'

export interface Postmaster {
  pid: number
  port: number
  ready: boolean
}

const START_LIMIT_MS = 60_000
const ATTEMPTS = 5
/** Another program took the port between our look and the start, or children of a killed server are still leaving. */
const PASSING = /could not bind|address already in use|pre-existing shared memory block/i

/** The live server of this data folder, if any. */
export function findPostmaster(dataDir: string): Postmaster | undefined {
  const noted = readPidFile(dataDir)
  return noted !== undefined && isPostgres(noted.pid) ? noted : undefined
}

/** Starts the server on a free loopback port and waits until it takes connections. None may be running: see findPostmaster. */
export async function startPostmaster(binaries: Binaries, dataDir: string, settings: Record<string, string>, account: Account | undefined): Promise<Postmaster> {
  rmSync(pidFile(dataDir), { force: true }) // Of a dead server. PostgreSQL would trust it if another process had the number by now.
  for (let attempt = 1; ; attempt++) {
    const port = await freePort()
    const outcome = await launch(binaries, dataDir, { ...settings, port: String(port) }, account)
    if (typeof outcome !== 'string') return outcome
    const log = lastLines(logFile(dataDir))
    if (attempt === ATTEMPTS || !PASSING.test(log)) {
      throw new EmbeddedError('EMBEDDED_START_FAILED', `PostgreSQL did not start: ${outcome}\nThe end of ${logFile(dataDir)}:\n${log}`)
    }
    await delay(200 * attempt)
  }
}

/** Waits for a server that somebody else has started. */
export async function whenReady(dataDir: string): Promise<Postmaster | undefined> {
  const deadline = Date.now() + START_LIMIT_MS
  for (;;) {
    const found = findPostmaster(dataDir)
    if (found === undefined || found.ready || Date.now() > deadline) return found
    await delay(10)
  }
}

/** Fast shutdown: sessions are ended, everything is written, nothing is left running. */
export async function stopPostmaster({ bin }: Binaries, dataDir: string, account: Account | undefined): Promise<void> {
  const running = findPostmaster(dataDir)
  if (running === undefined) return
  const { code, output } = await run(join(bin, 'pg_ctl'), ['stop', '-D', dataDir, '-m', 'fast', '-w', '-t', '60'], account)
  if (code === 0 || findPostmaster(dataDir) === undefined) return whenGone(running.pid)
  throw new EmbeddedError('EMBEDDED_STOP_FAILED', `PostgreSQL in ${dataDir} did not stop: ${output.trim()}\nThe end of its log:\n${lastLines(logFile(dataDir))}`)
}

/** The pid file, which pg_ctl waits for, goes a moment before the process does. */
async function whenGone(pid: number): Promise<void> {
  const deadline = Date.now() + 10_000
  while (isPostgres(pid) && Date.now() < deadline) await delay(2)
}

/** Resolves to the server when it is ready, or to what went wrong. */
async function launch({ bin }: Binaries, dataDir: string, settings: Record<string, string>, account: Account | undefined): Promise<Postmaster | string> {
  const log = openSync(logFile(dataDir), 'w', 0o600)
  // A session of its own: Ctrl-C in the terminal must reach us first, or the broker loses its database while draining.
  const child = spawn(join(bin, 'postgres'), ['-D', dataDir, ...flags(settings)], { ...asServer(account), detached: true, stdio: ['ignore', log, log] })
  closeSync(log)
  let problem: string | undefined
  child.once('error', (error) => (problem = error.message))
  child.once('exit', (code, signal) => (problem = `it ended at once (${signal ?? `exit code ${code}`})`))
  child.unref()
  const deadline = Date.now() + START_LIMIT_MS
  while (problem === undefined) {
    const noted = readPidFile(dataDir)
    if (noted?.pid === child.pid && noted?.ready) return noted
    if (Date.now() > deadline) {
      child.kill('SIGQUIT') // Immediate: it has had its time.
      problem = `it was not ready after ${START_LIMIT_MS / 1000} s`
    }
    await delay(5)
  }
  return problem
}

/** Nothing is noted while the file is absent or has just been made and is still empty. */
function readPidFile(dataDir: string): Postmaster | undefined {
  let text: string
  try {
    text = readFileSync(pidFile(dataDir), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const lines = text.split('\n')
  const pid = Number(lines[0])
  return pid > 0 ? { pid, port: Number(lines[3]), ready: lines[7]?.trim() === 'ready' } : undefined
}

function pidFile(dataDir: string): string {
  return join(dataDir, 'postmaster.pid')
}

function flags(settings: Record<string, string>): string[] {
  const all = { listen_addresses: '127.0.0.1', unix_socket_directories: '', timezone: 'UTC', ...settings }
  return Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function logFile(dataDir: string): string {
  return join(dirname(dataDir), 'postgres.log')
}

function lastLines(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8').trimEnd().split('\n').slice(-20).join('\n') : '(no log)'
}
