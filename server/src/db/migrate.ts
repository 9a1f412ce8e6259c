import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'

const FOLDER = fileURLToPath(new URL('../../../../migrations', import.meta.url))
const FILE = /^(\d{4})_[a-z0-9_]+\.sql$/
const TABLE = 'reproq_migrations'
const OLDEST_SERVER = 14
const NEWEST_SERVER = 18
const LOCK_WAIT_MS = 120_000
const LOCK_POLL_MS = 100

export type MigrateErrorCode = 'SERVER_UNSUPPORTED' | 'SCHEMA_NEWER' | 'MIGRATION_LOCKED' | 'MIGRATION_FAILED'

export class MigrateError extends Error {
  override name = 'MigrateError'
  readonly code: MigrateErrorCode

  constructor(code: MigrateErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

export interface SchemaState {
  /** Number of the newest applied migration; 0 on a database without any. */
  current: number
  /** Number of the newest migration this code has. */
  latest: number
  /** Names of the migrations to apply, in order. */
  pending: string[]
  /** The database was migrated by newer code than this. */
  newer: boolean
}

export interface MigrateOptions {
  /** Where the database is; or `client`, a connection of the caller's that stays open. */
  url?: string
  client?: pg.ClientBase
  log?: (line: string) => void
}

/**
 * Brings the database to this code's schema and says which migrations it applied. Of several brokers that start at once
 * one migrates and the others wait for it. Refuses a server it was not tested on and a schema from newer code.
 */
export async function migrate({ url, client, log }: MigrateOptions): Promise<{ applied: string[]; version: number }> {
  if (client !== undefined) return bringUp(client, log)
  const own = new pg.Client({
    connectionString: url,
    application_name: 'reproq migrate',
    // An ALTER TABLE that waits makes every later reader and writer of the table wait too: rather fail, and say so.
    options: '-c lock_timeout=15s',
  })
  await own.connect()
  try {
    return await bringUp(own, log)
  } finally {
    await own.end()
  }
}

/** What this database has and what this code wants of it. */
export async function schemaState(client: pg.ClientBase): Promise<SchemaState> {
  const known = migrationNames()
  const applied = await appliedNames(client)
  const latest = Math.max(0, ...known.map(numberOf))
  const current = Math.max(0, ...applied.map(numberOf))
  return { current, latest, pending: known.filter((name) => !applied.includes(name)), newer: current > latest }
}

/** What `migrate` would apply, with its text. Refuses what `migrate` refuses. */
export async function planned(client: pg.ClientBase): Promise<{ name: string; sql: string }[]> {
  await refuseUntestedServer(client)
  const state = await schemaState(client)
  refuseNewerSchema(state)
  return state.pending.map((name) => ({ name, sql: readFileSync(join(FOLDER, `${name}.sql`), 'utf8') }))
}

async function bringUp(client: pg.ClientBase, log: MigrateOptions['log']) {
  await refuseUntestedServer(client)
  const state = await schemaState(client)
  refuseNewerSchema(state)
  if (state.pending.length === 0) return { applied: [], version: state.current }
  const applied = await underLock(client, () => applyPending(client))
  for (const name of applied) log?.(`applied migration ${name}`)
  return { applied, version: state.latest }
}

async function refuseUntestedServer(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ major: number; version: string }>(
    `SELECT current_setting('server_version_num')::int / 10000 AS major, current_setting('server_version') AS version`,
  )
  const { major, version } = rows[0]!
  if (major >= OLDEST_SERVER && major <= NEWEST_SERVER) return
  throw new MigrateError('SERVER_UNSUPPORTED', `The database runs PostgreSQL ${version}; Reproq works with ${OLDEST_SERVER} to ${NEWEST_SERVER}`)
}

function refuseNewerSchema({ current, latest, newer }: SchemaState): void {
  if (!newer) return
  throw new MigrateError(
    'SCHEMA_NEWER',
    `The database has schema version ${current} and this code knows versions up to ${latest}: it was migrated by a newer Reproq. Start that version, or a newer one; a schema never goes back.`,
  )
}

/**
 * node-pg-migrate's own lock, taken by trying instead of by its waiting: a session that waits inside a statement holds a
 * snapshot, and CREATE INDEX CONCURRENTLY in the other migrator would wait for that snapshot: a deadlock.
 */
async function underLock<T>(client: pg.ClientBase, work: () => Promise<T>): Promise<T> {
  const { PG_MIGRATE_LOCK_ID } = await import('node-pg-migrate')
  const deadline = Date.now() + LOCK_WAIT_MS
  while (!(await tryLock(client, PG_MIGRATE_LOCK_ID))) {
    if (Date.now() > deadline) throw new MigrateError('MIGRATION_LOCKED', `Another process has been migrating this database for ${LOCK_WAIT_MS / 1000} s`)
    await delay(LOCK_POLL_MS)
  }
  try {
    return await work()
  } finally {
    await client.query('SELECT pg_advisory_unlock($1)', [PG_MIGRATE_LOCK_ID])
  }
}

async function tryLock(client: pg.ClientBase, id: number): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [id])
  return rows[0]!.locked
}

async function applyPending(client: pg.ClientBase): Promise<string[]> {
  // Loaded only here: most starts have nothing to apply.
  const { runner } = await import('node-pg-migrate')
  const said: string[] = []
  try {
    const applied = await runner({
      dbClient: client,
      dir: FOLDER,
      ignorePattern: `(?!${FILE.source.slice(1)}).*`,
      migrationsTable: TABLE,
      migrationsSchema: 'public',
      direction: 'up',
      noLock: true, // We hold it.
      logger: { info: () => {}, warn: () => {}, error: (line) => said.push(line) },
    })
    return applied.map(({ name }) => name)
  } catch (cause) {
    // node-pg-migrate leaves the failed migration's transaction open on a client that is not its own.
    await client.query('ROLLBACK')
    throw new MigrateError('MIGRATION_FAILED', `A migration failed and was rolled back: ${(cause as Error).message}\n${said.join('\n')}`.trim(), { cause })
  }
}

async function appliedNames(client: pg.ClientBase): Promise<string[]> {
  const { rows: found } = await client.query<{ present: boolean }>(`SELECT to_regclass('public.${TABLE}') IS NOT NULL AS present`)
  if (!found[0]!.present) return []
  const { rows } = await client.query<{ name: string }>(`SELECT name FROM public.${TABLE} ORDER BY id`)
  return rows.map(({ name }) => name)
}

function migrationNames(): string[] {
  return readdirSync(FOLDER).filter((file) => FILE.test(file)).sort().map((file) => file.replace(/\.sql$/, ''))
}

function numberOf(name: string): number {
  return Number.parseInt(name, 10)
}
