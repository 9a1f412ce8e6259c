import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { startEmbedded, type Embedded } from '../../server/src/db/embedded.js'
import { alive } from '../../server/src/db/embedded/process.js'

export const TEST_DATABASE_PREFIX = 'reproq_test_'

// A machine that loses power may lose these databases, which nobody misses; everything else is as in production.
const settings = { fsync: 'off', max_connections: '200' }

/** The Postgres of this checkout's tests: one per folder, shared by all that test at the same time, gone after the last. */
export async function startTestServer(): Promise<{ url: string; stop(): Promise<void> }> {
  const checkout = fileURLToPath(new URL('../../..', import.meta.url))
  const key = createHash('sha256').update(`${checkout} ${process.getuid?.()}`).digest('hex').slice(0, 12)
  const server = await startEmbedded({ dataDir: join(tmpdir(), `reproq-test-${key}`, 'pg18'), settings })
  await dropAbandoned(server.url)
  return { url: server.url, stop: () => stop(server) }
}

/** A person's next run starts sooner from the folder of this one; in CI there is no next run. */
async function stop(server: Embedded): Promise<void> {
  await server.stop()
  if (process.env.CI) rmSync(dirname(server.dataDir), { recursive: true })
}

/** Databases of test processes that were killed before they could drop them. */
async function dropAbandoned(url: string): Promise<void> {
  await withAdmin(url, async (admin) => {
    const { rows } = await admin.query<{ datname: string }>('SELECT datname FROM pg_database WHERE starts_with(datname, $1)', [TEST_DATABASE_PREFIX])
    for (const { datname } of rows) {
      const pid = Number.parseInt(datname.slice(TEST_DATABASE_PREFIX.length), 10)
      if (!alive(pid)) await admin.query(`DROP DATABASE IF EXISTS ${datname} WITH (FORCE)`)
    }
  })
}

export async function withAdmin<T>(url: string, work: (admin: pg.Client) => Promise<T>): Promise<T> {
  const admin = new pg.Client({ connectionString: url, application_name: 'reproq tests' })
  await admin.connect()
  try {
    return await work(admin)
  } finally {
    await admin.end()
  }
}
