import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import root, { type Test } from 'tap'
import { migrate } from '../../server/src/db/migrate.js'
import { startTestServer, TEST_DATABASE_PREFIX, withAdmin } from './server.js'

const TEMPLATE_PREFIX = 'reproq_template_'
const TEMPLATE_LOCK = 7241865325
const MIGRATIONS = fileURLToPath(new URL('../../../migrations', import.meta.url))

export interface TestDatabase {
  url: string
  /** Ended before the database is dropped. */
  pool: pg.Pool
}

/** A migrated database of its own in a real Postgres, cloned from a template, dropped when `t` ends. */
export async function testDatabase(t: Test): Promise<TestDatabase> {
  return create(t, await template())
}

/** A database with nothing in it, for tests of the migrations themselves. */
export async function emptyDatabase(t: Test): Promise<TestDatabase> {
  return create(t, 'template0')
}

let created = 0

async function create(t: Test, from: string): Promise<TestDatabase> {
  const server = await serverUrl()
  const name = `${TEST_DATABASE_PREFIX}${process.pid}_${++created}`
  await withAdmin(server, (admin) => admin.query(`CREATE DATABASE ${name} TEMPLATE ${from}`))
  const url = withDatabase(server, name)
  const pool = new pg.Pool({ connectionString: url })
  t.teardown(async () => {
    // end() resolves while connections are still closing, and the forced drop reaches one of them now and then.
    pool.on('error', () => {})
    await pool.end()
    await withAdmin(server, (admin) => admin.query(`DROP DATABASE ${name} WITH (FORCE)`))
  })
  return { url, pool }
}

let running: Promise<string> | undefined

/** scripts/test.mjs, or a person with their own Postgres, sets the variable; a file run alone brings its own server. */
function serverUrl(): Promise<string> {
  return (running ??= process.env.REPROQ_TEST_DATABASE_URL ? Promise.resolve(process.env.REPROQ_TEST_DATABASE_URL) : ownServer())
}

async function ownServer(): Promise<string> {
  const server = await startTestServer()
  root.teardown(() => server.stop())
  return server.url
}

let migrated: Promise<string> | undefined

function template(): Promise<string> {
  return (migrated ??= makeTemplate())
}

/** Named after what the migrations contain: changed ones make a new template, and the first process to need it builds it. */
async function makeTemplate(): Promise<string> {
  const server = await serverUrl()
  const name = TEMPLATE_PREFIX + migrationsHash()
  await withAdmin(server, async (admin) => {
    await admin.query('SELECT pg_advisory_lock($1)', [TEMPLATE_LOCK])
    const { rowCount } = await admin.query('SELECT FROM pg_database WHERE datname = $1', [name])
    if (rowCount !== 0) return
    const unfinished = `${name}_unfinished`
    await admin.query(`DROP DATABASE IF EXISTS ${unfinished} WITH (FORCE)`)
    await admin.query(`CREATE DATABASE ${unfinished} TEMPLATE template0`)
    await migrate({ url: withDatabase(server, unfinished) })
    await admin.query(`ALTER DATABASE ${unfinished} RENAME TO ${name}`)
  })
  return name
}

function migrationsHash(): string {
  const hash = createHash('sha256')
  for (const file of readdirSync(MIGRATIONS).filter((name) => name.endsWith('.sql')).sort()) {
    hash.update(file).update(readFileSync(join(MIGRATIONS, file)))
  }
  return hash.digest('hex').slice(0, 12)
}

function withDatabase(server: string, database: string): string {
  const url = new URL(server)
  url.pathname = `/${database}`
  return url.href
}
