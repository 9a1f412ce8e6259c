import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { startEmbedded, type Embedded } from '../../server/src/db/embedded.js'
import { temporaryFolder } from './folders.js'

/** After a checkpoint the disk is left alone for this long, so that one cell does not pay for the one before. */
export const SETTLE_MS = { quick: 500, full: 5_000 }

/** A server of the bench's own, with PostgreSQL's default settings (fsync and synchronous_commit on), gone at the end. */
export class Postgres {
  readonly #server: Embedded
  readonly #folder: string
  readonly #admin: pg.Client
  #made = 0

  private constructor(server: Embedded, folder: string, admin: pg.Client) {
    this.#server = server
    this.#folder = folder
    this.#admin = admin
  }

  static async start(): Promise<Postgres> {
    const folder = temporaryFolder('pg')
    // Preloading pg_stat_statements would cost every cell; statistics come from the views that are always there.
    const server = await startEmbedded({ dataDir: join(folder, 'data') })
    const admin = new pg.Client({ connectionString: server.url, application_name: 'bench admin' })
    await admin.connect()
    return new Postgres(server, folder, admin)
  }

  get version(): string {
    return this.#server.version
  }

  get pid(): number {
    return this.#server.pid
  }

  /** Everything that is not as PostgreSQL comes: the report says it. */
  async settings(): Promise<string[]> {
    const names = ['fsync', 'synchronous_commit', 'shared_buffers', 'wal_sync_method', 'max_wal_size', 'autovacuum', 'jit']
    const { rows } = await this.#admin.query<{ line: string }>("SELECT name || ' = ' || current_setting(name) AS line FROM unnest($1::text[]) AS s (name)", [names])
    return rows.map(({ line }) => line)
  }

  /** A new database for one cell. */
  async freshDatabase(): Promise<Database> {
    const name = `cell_${++this.#made}`
    await this.#admin.query(`CREATE DATABASE ${name}`)
    const url = new URL(this.#server.url)
    url.pathname = `/${name}`
    return new Database(this, url.href, name)
  }

  async drop(name: string): Promise<void> {
    await this.#admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
  }

  async settle(ms: number): Promise<void> {
    await this.#admin.query('CHECKPOINT')
    await delay(ms)
  }

  async walPosition(): Promise<number> {
    const { rows } = await this.#admin.query<{ bytes: string }>("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS bytes")
    return Number(rows[0]?.bytes)
  }

  /**
   * Transactions that have written something, in the whole server. Exact at once, unlike pg_stat_database, which backends
   * bring up to date up to ten seconds late. A plpgsql block with EXCEPTION counts as one more.
   */
  async writingTransactions(): Promise<number> {
    const { rows } = await this.#admin.query<{ next: string }>('SELECT pg_snapshot_xmax(pg_current_snapshot()) AS next')
    return Number(rows[0]?.next)
  }

  async transactionsOf(database: string): Promise<number> {
    const { rows } = await this.#admin.query<{ count: string }>('SELECT xact_commit + xact_rollback AS count FROM pg_stat_database WHERE datname = $1', [database])
    return Number(rows[0]?.count)
  }

  async stop(): Promise<void> {
    await this.#admin.end()
    await this.#server.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** One cell's database, with a connection of the bench to look into it. */
export class Database {
  readonly url: string
  readonly name: string
  readonly #server: Postgres
  readonly #pool: pg.Pool

  constructor(server: Postgres, url: string, name: string) {
    this.#server = server
    this.url = url
    this.name = name
    this.#pool = new pg.Pool({ connectionString: url, max: 2, application_name: 'bench' })
    this.#pool.on('error', () => {})
  }

  async query<Row extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<Row[]> {
    return (await this.#pool.query<Row>(text, values)).rows
  }

  /** The first column of the first row. */
  async value(text: string, values: unknown[] = []): Promise<unknown> {
    const [row] = await this.query(text, values)
    return row && Object.values(row)[0]
  }

  /** A statement with $1 = `count` in all, some at a time: a million in one array would not fit. Our triggers stay out of the way. */
  async fill(text: string, count: number, step = 100_000): Promise<void> {
    const client = await this.#pool.connect()
    try {
      await client.query('SET reproq.internal = on')
      for (let left = count; left > 0; left -= step) await client.query(text, [Math.min(step, left)])
    } finally {
      client.release(true)
    }
  }

  /** A transaction that has looked, and sees that moment until the returned function ends it. */
  async holdSnapshot(): Promise<() => Promise<void>> {
    const client = await this.#pool.connect()
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await client.query('SELECT count(*) FROM pg_class')
    return async () => {
      await client.query('ROLLBACK')
      client.release()
    }
  }

  /** So that autovacuum does not come to see what was just put in while something else is measured. */
  async tidy(): Promise<void> {
    await this.query('VACUUM (ANALYZE)')
  }

  /** Transactions of this database that its backends have reported, up to ten seconds late. Asked from outside of it. */
  transactions(): Promise<number> {
    return this.#server.transactionsOf(this.name)
  }

  async drop(): Promise<void> {
    await this.#pool.end()
    await this.#server.drop(this.name)
  }
}
