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

/** Why there can be no pg_cron here; undefined when there can. It is fetched as a package and unpacked, never installed. */
export function noPgCron(): string | undefined {
  if (!existsSync(join(DEBIAN, 'bin/initdb'))) return `Debian's PostgreSQL ${VERSION} is not installed (${DEBIAN})`
  if (spawnSync('apt-get', ['--version']).status !== 0) return 'there is no apt-get'
  return undefined
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
  const packages = join(folder, 'package')
  mkdirSync(packages)
  if (!download(packages)) {
    must('apt-get', ['update', '-qq'], packages)
    if (!download(packages)) throw new Error(`apt-get could not download postgresql-${VERSION}-cron`)
  }
  const [file] = readdirSync(packages).filter((name) => name.endsWith('.deb'))
  must('dpkg', ['-x', join(packages, file as string), folder], packages)
  return join(folder, DEBIAN, 'bin')
}

function download(folder: string): boolean {
  return spawnSync('apt-get', ['download', '-qq', `postgresql-${VERSION}-cron`], { cwd: folder }).status === 0
}

function must(program: string, args: string[], cwd: string): void {
  const { status, stderr } = spawnSync(program, args, { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed: ${stderr}`)
}
