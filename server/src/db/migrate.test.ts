import { readdirSync, readFileSync } from 'node:fs'
import pg from 'pg'
import t, { type Test } from 'tap'
import { emptyDatabase, testDatabase } from '../../../test/helpers/database.js'
import { migrate, schemaState } from './migrate.js'

const MIGRATIONS = new URL('../../../../migrations/', import.meta.url)
const files = readdirSync(MIGRATIONS).filter((file) => file.endsWith('.sql') && file !== 'schema.sql').sort()
const names = files.map((file) => file.replace('.sql', ''))
/** What waits, is later, runs, is over and hangs on another: ids 1 to 5. Written as each producer writes: all columns. */
const ROWS = `
  INSERT INTO task_runs (result_id, backend_alias, queue_name, priority, run_after, spec_json, spec_hash, task_path, status, enqueued_at, attempts,
    max_attempts, timeout_seconds, concurrency_limit, worker_ids, errors_json, metadata_json, wait_count, created_at, updated_at, cancel_requested, leased_by, parent_id)
  SELECT id, 'default', 'mail', 2, run_after, '{"task_path": "app.send", "args": [1.0]}', repeat(id::text, 64), 'app.send', status, '2026-01-02 03:04:05Z', 0,
    3, 900, 0, '[]', '[]', '{"kept": true}', 0, '2026-01-02 03:04:05Z', '2026-01-02 03:04:05Z', false, leased_by, parent_id
  FROM (VALUES (1, 'READY', NULL::timestamptz, NULL, NULL::bigint), (2, 'READY', '2126-01-01Z', NULL, NULL), (3, 'RUNNING', NULL, 'go-1', NULL),
    (4, 'SUCCESSFUL', NULL, NULL, NULL), (5, 'WAITING', NULL, NULL, 4)) AS run (id, status, run_after, leased_by, parent_id)`

t.test('every file in migrations/ is named so that it runs, and none has a way back', async (t) => {
  files.forEach((file, at) => t.match(file, new RegExp(`^${String(at + 1).padStart(4, '0')}_[a-z0-9_]+\\.sql$`)))
  for (const file of files) {
    // node-pg-migrate cuts a file at such a comment, and would leave out what follows.
    t.notMatch(readFileSync(new URL(file, MIGRATIONS), 'utf8'), /^\s*--[\s-]*(up|down)\s+migration/im, file)
  }
})

t.test('an empty database gets every migration once', async (t) => {
  const { url, pool } = await emptyDatabase(t)
  const lines: string[] = []

  t.same(await migrate({ url, log: (line) => lines.push(line) }), { applied: names, version: names.length })
  t.equal(lines.length, names.length)
  const before = await shape(pool)

  t.same(await migrate({ url }), { applied: [], version: names.length })
  t.same(await shape(pool), before)
})

t.test('of migrators that start at once one migrates, and the others wait until it has', async (t) => {
  const { url } = await emptyDatabase(t)
  const applied = await Promise.all([1, 2, 3, 4].map(() => migrate({ url })))
  t.same(applied.map((result) => result.applied.length).sort(), [0, 0, 0, names.length])
  t.ok(applied.every(({ version }) => version === names.length))
})

t.test('a caller may bring its connection, and gets it back in working order', async (t) => {
  const { url } = await emptyDatabase(t)
  const client = await connect(t, url)
  t.same(await schemaState(client), { current: 0, latest: names.length, pending: names, newer: false })

  await migrate({ client })

  t.same(await schemaState(client), { current: names.length, latest: names.length, pending: [], newer: false })
  t.same((await client.query(`SELECT count(*)::int AS locks FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()`)).rows, [{ locks: 0 }])
})

t.test('a migration that fails is rolled back and named; those before it stay', async (t) => {
  const { url, pool } = await emptyDatabase(t)
  await pool.query('CREATE TABLE reproq_ready (in_the_way integer)')
  const client = await connect(t, url)

  await t.rejects(migrate({ client }), { code: 'MIGRATION_FAILED', message: /reproq_ready/ })

  t.match(await schemaState(client), { current: 1, newer: false })
  await pool.query('DROP TABLE reproq_ready')
  t.same((await migrate({ client })).applied, names.slice(1))
})

t.test('a database from newer code is refused and left as it is', async (t) => {
  const { url, pool } = await testDatabase(t)
  await pool.query(`INSERT INTO reproq_migrations (name, run_on) VALUES ('9999_from_the_future', now())`)
  const client = await connect(t, url)

  await t.rejects(migrate({ url }), { code: 'SCHEMA_NEWER', message: /version 9999 .* up to \d+/ })
  t.match(await schemaState(client), { current: 9999, newer: true, pending: [] })
})

t.test('a server that Reproq was not tested on is refused', async (t) => {
  for (const [major, version] of [[13, '13.22'], [19, '19.0']] as const) {
    const client = { query: async () => ({ rows: [{ major, version }] }) } as unknown as pg.Client
    await t.rejects(migrate({ client }), { code: 'SERVER_UNSUPPORTED', message: `PostgreSQL ${version}` })
  }
})

const PRODUCERS = [['Django', 'django-schema.sql'], ['the Go worker', 'go-schema.sql']] as const
for (const [producer, file] of PRODUCERS) {
  t.test(`a database that ${producer} made is adopted`, async (t) => {
    const { url, pool } = await emptyDatabase(t)
    await pool.query(readFileSync(new URL(`../../../../test/compat/${file}`, import.meta.url), 'utf8'))
    await pool.query(ROWS)
    const rowsBefore = await rows(pool)
    const indexesBefore = await indexes(pool)

    await migrate({ url })

    t.test('its rows are as they were', async (t) => {
      t.same(await rows(pool), rowsBefore)
    })
    t.test('what waits in it is ready or scheduled', async (t) => {
      t.same((await pool.query('SELECT result_id FROM reproq_ready')).rows, [{ result_id: '1' }])
      t.same((await pool.query('SELECT result_id FROM reproq_scheduled')).rows, [{ result_id: '2' }])
    })
    t.test('it has the tables and columns of a new one, with the same defaults, and null where that may be null', async (t) => {
      const fresh = await testDatabase(t)
      t.same(await defaults(pool), await defaults(fresh.pool))
    })
    t.test('it keeps its own indexes', async (t) => {
      const now = await indexes(pool)
      t.same(indexesBefore.filter((index) => !now.includes(index)), [])
    })
    t.test('the least that others write is a run', async (t) => {
      const spec = JSON.stringify({ task_path: 'app.least' })
      // Django leaves no gap in the ids that its identity column hands out; the rows above brought their own.
      await pool.query(`SELECT setval(pg_get_serial_sequence('task_runs', 'result_id'), 100)`)
      const least = await pool.query('INSERT INTO task_runs (spec_json, spec_hash) VALUES ($1, $2) RETURNING task_path, status, attempts', [spec, 'f'.repeat(64)])
      t.same(least.rows, [{ task_path: 'app.least', status: 'READY', attempts: 0 }])
      const enqueued = await pool.query(`SELECT * FROM reproq_enqueue('app.add', args => '[2, 3]')`)
      t.match(enqueued.rows, [{ result_id: /\d+/, deduplicated: false }])
      t.match((await pool.query('SELECT count(*)::int FROM reproq_ready')).rows, [{ count: 3 }])
    })
    t.test('a worker that does not say where it is can be listed', async (t) => {
      await pool.query(`INSERT INTO reproq_workers (worker_id) VALUES ('w')`)
      t.match((await pool.query('SELECT hostname, concurrency FROM reproq_workers')).rows, [{ hostname: null, concurrency: null }])
    })
  })
}

/** What tables lack that were made by reproq-django 0.1.511 or reproq-worker of that time: later releases changed the migrations that had made them. */
const BEFORE = `
  ALTER TABLE task_runs DROP COLUMN task_path CASCADE, DROP COLUMN concurrency_key, DROP COLUMN concurrency_limit, DROP COLUMN metadata_json, DROP COLUMN last_error, DROP COLUMN failed_at;
  ALTER TABLE periodic_tasks DROP COLUMN concurrency_key, DROP COLUMN concurrency_limit;
  DROP TABLE reproq_queue_controls;
  DROP TRIGGER IF EXISTS trg_task_runs_task_path ON task_runs;
  DROP FUNCTION reproq_task_path_from_spec`

for (const [producer, file] of PRODUCERS) {
  t.test(`a database of earlier releases, made by ${producer}, gets what came later, and its runs can be run`, async (t) => {
    const { url, pool } = await emptyDatabase(t)
    await pool.query(readFileSync(new URL(`../../../../test/compat/${file}`, import.meta.url), 'utf8'))
    await pool.query(ROWS)
    await pool.query(BEFORE)
    await pool.query(`UPDATE task_runs SET spec_json = '{}' WHERE result_id = 2`)

    await migrate({ url })

    const fresh = await testDatabase(t)
    t.same(await defaults(pool), await defaults(fresh.pool))
    t.same((await pool.query('SELECT result_id::int AS id, task_path FROM task_runs ORDER BY 1')).rows, [1, 2, 3, 4, 5].map((id) => ({ id, task_path: id === 2 ? 'unknown' : 'app.send' })))
    await pool.query(`UPDATE task_runs SET status = 'RUNNING'`)
  })
}

t.test("a database from before Reproq's baseline is refused, with what is wrong and what to do", async (t) => {
  const { url, pool } = await emptyDatabase(t)
  await pool.query(`CREATE TYPE task_status AS ENUM ('READY'); CREATE TABLE task_runs (result_id bigint, status task_status, worker_ids text[])`)
  await t.rejects(migrate({ url }), { code: 'MIGRATION_FAILED', message: /task_runs\.status is task_status, task_runs\.worker_ids is text\[\]\. Upgrade/ })
})

async function connect(t: Test, url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  t.teardown(() => client.end())
  return client
}

async function rows(pool: pg.Pool): Promise<unknown> {
  const { rows } = await pool.query(`SELECT (SELECT jsonb_object_agg(key, value) FROM jsonb_each(to_jsonb(t)) WHERE key NOT LIKE 'reproq_%') AS run FROM task_runs t ORDER BY result_id`)
  return rows
}

async function indexes(pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query<{ indexdef: string }>(`SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1`)
  return rows.map(({ indexdef }) => indexdef)
}

/** The id's own default is left out: a sequence in one, an identity in the other. */
async function defaults(pool: pg.Pool): Promise<unknown> {
  const { rows } = await pool.query(`
    SELECT table_name, column_name, column_default, is_nullable FROM information_schema.columns
     WHERE table_schema = 'public' AND (table_name, column_name) <> ('task_runs', 'result_id') ORDER BY 1, 2`)
  return rows
}

async function shape(pool: pg.Pool): Promise<unknown> {
  const { rows } = await pool.query(`SELECT oid::int, relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1`)
  const applied = await pool.query('SELECT * FROM reproq_migrations ORDER BY id')
  return { rows, applied: applied.rows }
}
