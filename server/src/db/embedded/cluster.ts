import { chownSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Account } from './account.js'
import type { Binaries } from './binaries.js'
import { EmbeddedError } from './error.js'
import { run } from './spawn.js'

export const SUPERUSER = 'postgres'

/** The data folder of this major version, or a refusal to open one that another major wrote. */
export function clusterExists(dataDir: string, { version }: Binaries): boolean {
  const file = join(dataDir, 'PG_VERSION')
  if (!existsSync(file)) return false
  const written = readFileSync(file, 'utf8').trim()
  if (version.startsWith(`${written}.`)) return true
  throw new EmbeddedError(
    'EMBEDDED_FOLDER',
    `${dataDir} was written by PostgreSQL ${written}, and the bundled one is ${version}. Move the folder away to start empty.`,
  )
}

/** Creates the cluster beside its place and moves it there whole: a kill half-way leaves nothing that looks finished. */
export async function createCluster(binaries: Binaries, dataDir: string, password: string, account: Account | undefined) {
  const unfinished = `${dataDir}.new`
  const passwordFile = `${dataDir}.password`
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(unfinished, { recursive: true, mode: 0o700 })
  writeFileSync(passwordFile, password, { mode: 0o600 })
  try {
    if (account) for (const path of [unfinished, passwordFile]) chownSync(path, account.uid, account.gid)
    await initdb(binaries, unfinished, passwordFile, account)
    rmSync(dataDir, { recursive: true, force: true }) // Holds no cluster: the caller has looked.
    renameSync(unfinished, dataDir)
  } finally {
    rmSync(passwordFile, { force: true })
    rmSync(unfinished, { recursive: true, force: true })
  }
}

async function initdb({ bin }: Binaries, dataDir: string, passwordFile: string, account: Account | undefined) {
  const { code, output } = await run(join(bin, 'initdb'), [
    ...['--pgdata', dataDir, '--username', SUPERUSER, '--pwfile', passwordFile],
    ...['--auth-local=scram-sha-256', '--auth-host=scram-sha-256'],
    // PostgreSQL's own C.UTF-8: the same order on every machine, whatever locales the host has.
    ...['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
    '--no-sync', // An empty cluster is cheap to lose; what is written later is synced as always.
    '--no-instructions',
  ], account)
  if (code === 0) return
  throw new EmbeddedError('EMBEDDED_START_FAILED', `initdb failed with exit code ${code}:\n${output.split('\n').slice(-20).join('\n').trim()}`)
}

/** For a cluster whose password was lost with postgres.json. The server must not be running. */
export async function resetPassword({ bin }: Binaries, dataDir: string, password: string, account: Account | undefined) {
  const statement = `ALTER ROLE ${SUPERUSER} PASSWORD '${password}'\n` // Of our own making: base64url has no quote.
  const { code, output } = await run(join(bin, 'postgres'), ['--single', '-D', dataDir, 'postgres'], account, statement)
  if (code === 0 && !/ERROR|FATAL/.test(output)) return
  throw new EmbeddedError('EMBEDDED_START_FAILED', `Cannot set a new password in ${dataDir}:\n${output.trim()}`)
}
