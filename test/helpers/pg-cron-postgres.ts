import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Test } from 'tap'
import { serverAccount } from '../../server/src/db/embedded/account.js'
import { startPostmaster, stopPostmaster } from '../../server/src/db/embedded/postmaster.js'
import { run } from '../../server/src/db/embedded/spawn.js'
import { migrate } from '../../server/src/db/migrate.js'
import type { TestDatabase } from './database.js'

const VERSION = '15'
const DEBIAN = `/usr/lib/postgresql/${VERSION}`

const PACKAGE = `postgresql-${VERSION}-cron`
/** Kept from one run to the next, by whoever runs them. */
const FETCHED = join(tmpdir(), `reproq-${PACKAGE}-${process.getuid?.()}`)

/** Why there can be no pg_cron here; undefined when there can. It is fetched as a package and unpacked, never installed. */
export function noPgCron(): string | undefined {
  if (!existsSync(join(DEBIAN, 'bin/initdb'))) return `Debian's PostgreSQL ${VERSION} is not installed (${DEBIAN})`
  if (spawnSync('apt-get', ['--version']).status !== 0) return 'there is no apt-get'
  mkdirSync(FETCHED, { recursive: true })
  if (fetched() !== undefined || download() === '') return undefined
  spawnSync('apt-get', ['update', '-qq'])
  const fault = download()
  return fault === '' ? undefined : `apt-get cannot download ${PACKAGE}: ${fault}`
}

/** A migrated database in a PostgreSQL of this test alone, with pg_cron loaded for it. */
export async function pgCronDatabase(t: Test): Promise<TestDatabase> {
  const folder = mkdtempSync(join(tmpdir(), 'reproq-cron-'))
  chmodSync(folder, 0o755)
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const binaries = { bin: relocate(folder), version: VERSION }
  const home = join(folder, 'home')
  const dataDir = join(home, 'data')
  mkdirSync(home)
  const account = serverAccount(dataDir)
  const password = randomBytes(24).toString('base64url')
  const passwordFile = join(home, 'password')
  writeFileSync(passwordFile, password, { mode: 0o600 })
  if (account) for (const path of [home, passwordFile]) chownSync(path, account.uid, account.gid)
  const { code, output } = await run(join(binaries.bin, 'initdb'), ['--pgdata', dataDir, '--username=postgres', '--pwfile', passwordFile, '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync'], account)
  if (code !== 0) throw new Error(`initdb failed with exit code ${code}:\n${output}`)
  // As background workers, which need no password: others could not start a job here.
  const settings = { fsync: 'off', shared_preload_libraries: 'pg_cron', 'cron.database_name': 'postgres', 'cron.use_background_workers': 'on', max_worker_processes: '20' }
  const { port } = await startPostmaster(binaries, dataDir, settings, account)
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`
  const pool = new pg.Pool({ connectionString: url })
  pool.on('error', () => {})
  t.teardown(async () => {
    await pool.end()
    await stopPostmaster(binaries, dataDir, account)
  })
  await migrate({ url })
  return { url, pool }
}

/** A copy of the installed server with pg_cron beside it: PostgreSQL finds its other files from where its program is. Returns its bin. */
function relocate(folder: string): string {
  for (const path of [DEBIAN, `/usr/share/postgresql/${VERSION}`]) cpSync(path, join(folder, path), { recursive: true, filter: (from) => !from.includes('/bitcode') })
  const { status, stderr } = spawnSync('dpkg', ['-x', join(FETCHED, fetched() as string), folder], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`dpkg could not unpack ${PACKAGE}: ${stderr}`)
  return join(folder, DEBIAN, 'bin')
}

/** What went wrong; nothing did when it is empty. */
function download(): string {
  const { status, stderr } = spawnSync('apt-get', ['download', '-qq', PACKAGE], { cwd: FETCHED, encoding: 'utf8' })
  return status === 0 ? '' : stderr.trim() || `exit code ${status}`
}

function fetched(): string | undefined {
  return readdirSync(FETCHED).find((name) => name.endsWith('.deb'))
}
