import pg from 'pg'
import t from 'tap'
import { givenDatabase, givenForeignRun, givenLeased, givenRuns, givenSession, misplaced, rowOf, statusOf, type Given } from '../../../test/helpers/given.js'
import { Pool } from '../db/pool.js'
import { continueOperations } from '../engine/operations.js'
import { countOperation, findOperation, listOperations, startOperation, stepOperation, stopOperation } from './operation.js'

/** `count` runs that have failed, in one statement. */
async function givenDead({ others }: Given, count: number, queue = 'mail', error = 'boom'): Promise<string[]> {
  const { rows } = await others.query<{ id: string }>(
    `INSERT INTO task_runs (queue_name, spec_json, spec_hash, task_path, status, attempts, finished_at, last_error)
     SELECT $2, '{"args": [], "kwargs": {}}', 'h' || n, 't.task', 'FAILED', 3, now(), $3 FROM generate_series(1, $1) n RETURNING result_id::text AS id`,
    [count, queue, error],
  )
  return rows.map(({ id }) => id)
}

async function toTheEnd(db: Pool, id: string): Promise<number> {
  let steps = 1
  while ((await stepOperation(db, id)) === 'RUNNING') steps++
  return steps
}

async function countOf({ others }: Given, where: string): Promise<number> {
  const { rows } = await others.query<{ count: number }>(`SELECT count(*)::int FROM task_runs WHERE ${where}`)
  return rows[0]?.count ?? 0
}

t.test('an operation does what its filter means, in steps, and touches nothing else', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  await givenDead(given, 600)
  const unmeant = [...(await givenDead(given, 3, 'other')), ...(await givenDead(given, 3, 'mail', 'another reason')), ...(await givenRuns(db, { queue: 'mail' }))]
  const before = await Promise.all(unmeant.map((id) => rowOf(others, id)))
  const filter = { queue: 'mail', error: 'BOOM', finished_after: '2020-01-01T00:00:00Z' }
  t.strictSame(await countOperation(db, 'retry', filter), { matched: 600, complete: true })

  const operation = await startOperation(db, 'retry', filter, 'somebody')
  t.match(operation, { action: 'retry', status: 'RUNNING', progress: 0, matched: 0, requested_by: 'somebody', filter: { queue: 'mail', statuses: ['FAILED'] } })
  const later = await givenDead(given, 1)
  t.equal(await stepOperation(db, operation.id), 'RUNNING')
  const halfway = await findOperation(db, operation.id)
  t.match(halfway, { status: 'RUNNING', matched: 250, changed: 250, finished_at: null })
  t.ok((halfway?.progress ?? 0) > 0.3 && (halfway?.progress ?? 1) < 0.5)
  await toTheEnd(db, operation.id)

  t.match(await findOperation(db, operation.id), { status: 'DONE', matched: 600, changed: 600, unchanged: [], progress: 1, finished_at: /^\d/ })
  t.equal(await countOf(given, `status = 'READY' AND attempts = 0`), 601)
  t.strictSame(await Promise.all(unmeant.map((id) => rowOf(others, id))), before)
  t.equal(await statusOf(others, later[0] as string), 'FAILED', 'what was not there when it began is not meant')
  t.equal(await stepOperation(db, operation.id), null, 'a finished one does nothing more')
  t.strictSame(await misplaced(others), [])
})

t.test('by many brokers at once, some of which die, each run is replayed exactly once', async (t) => {
  const given = await givenDatabase(t)
  const ids = await givenDead(given, 3_000)
  const { id } = await startOperation(given.db, 'replay', { status: 'FAILED' }, 'test')
  let killed = 0
  const killer = async () => {
    // One after each step that succeeds: on a slow machine a faster killer would let none.
    let seen = -1
    for (let operation = await findOperation(given.db, id); operation?.status === 'RUNNING'; operation = await findOperation(given.db, id)) {
      if (operation.changed === seen) continue
      const { rowCount } = await given.others.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'stepper' AND state = 'active' LIMIT 1`)
      killed += rowCount ?? 0
      if (rowCount) seen = operation.changed
    }
  }
  const stepper = async () => {
    while ((await findOperation(given.db, id))?.status === 'RUNNING') {
      const db = new Pool(given.url, 1, { name: 'stepper' })
      await stepOperation(db, id).catch(() => undefined)
      await db.close()
    }
  }
  await Promise.all([stepper(), stepper(), stepper(), killer()])

  t.ok(killed > 0, `${killed} were killed`)
  t.match(await findOperation(given.db, id), { status: 'DONE', matched: 3_000, changed: 3_000 })
  const { rows } = await given.others.query<{ copies: number; runs: number }>(`SELECT count(*)::int AS runs, max(copies)::int AS copies FROM (SELECT count(*) AS copies FROM task_runs WHERE status = 'READY' GROUP BY spec_hash) c`)
  t.strictSame(rows, [{ runs: ids.length, copies: 1 }])
  t.strictSame(await misplaced(given.others), [])
})

t.test('it can be stopped, also while a step is on its way; what it has done stays', async (t) => {
  const given = await givenDatabase(t)
  await givenDead(given, 600)
  const { id } = await startOperation(given.db, 'delete', { queue: 'mail' }, 'test')
  await stepOperation(given.db, id)
  const client = new pg.Client({ connectionString: given.url })
  await client.connect()
  t.teardown(() => client.end())
  await client.query('BEGIN')
  await client.query('SELECT pg_advisory_xact_lock(hashtext($1), $2::int)', ['reproq_operations', id])
  t.equal(await stepOperation(given.db, id), null, 'another is at it')
  t.equal(await stopOperation(given.db, id), true)
  await client.query('COMMIT')
  t.equal(await stopOperation(given.db, id), false)
  t.equal(await stepOperation(given.db, id), null)
  t.match(await findOperation(given.db, id), { status: 'STOPPED', changed: 250, finished_at: /^\d/ })
  t.equal(await countOf(given, 'true'), 350)
  t.strictSame(await listOperations(given.db, { limit: 10, unfinished: true }), [])
})

t.test('a cancel ends what waits, and asks what runs', async (t) => {
  const given = await givenDatabase(t)
  const { db, others, url } = given
  const listener = new pg.Client({ connectionString: url })
  await listener.connect()
  t.teardown(() => listener.end())
  const told: (string | undefined)[] = []
  listener.on('notification', ({ payload }) => told.push(payload))
  await listener.query('LISTEN reproq_cancel')

  const [ready, scheduled] = await givenRuns(db, { queue: 'q' }, { queue: 'q', runAfterMs: Date.now() + 3_600_000 })
  const waiting = await givenForeignRun(others, { queue_name: 'q', status: 'WAITING' })
  const running = await givenLeased(db, await givenSession(db), { queue: 'elsewhere' })
  await others.query(`UPDATE task_runs SET queue_name = 'q' WHERE result_id = $1`, [running.run])
  const done = await givenForeignRun(others, { queue_name: 'q', status: 'SUCCESSFUL' })

  const { id } = await startOperation(db, 'cancel', { queue: 'q' }, 'test')
  await toTheEnd(db, id)

  for (const run of [ready, scheduled, waiting]) t.match(await rowOf(others, run as string), { status: 'CANCELLED', finished_at: Date }, run as string)
  t.match(await rowOf(others, running.run), { status: 'RUNNING', cancel_requested: true })
  t.equal(await statusOf(others, done), 'SUCCESSFUL')
  t.match(await findOperation(db, id), { matched: 4, changed: 4 })
  await listener.query('SELECT 1')
  t.strictSame(told, [running.run], 'only what runs has somebody to be told')
  t.strictSame(await misplaced(others), [])
})

t.test('twins that it could not retry are named', async (t) => {
  const given = await givenDatabase(t)
  await given.others.query(`CREATE UNIQUE INDEX idx_task_runs_spec_unique ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING')`)
  const [first] = await givenDead(given, 1)
  const [twin] = await givenDead(given, 1)
  const { id } = await startOperation(given.db, 'retry', { queue: 'mail' }, 'test')
  await toTheEnd(given.db, id)
  t.match(await findOperation(given.db, id), { matched: 2, changed: 1, unchanged: [{ run: twin, outcome: 'duplicate', other: first }] })
})

const FORBID = `CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'locked by accounting'; END $$;
  CREATE TRIGGER forbid BEFORE INSERT OR UPDATE ON task_runs FOR EACH ROW WHEN (NEW.priority = 7) EXECUTE FUNCTION forbid();`

for (const [action, status] of [['retry', 'FAILED'], ['replay', 'FAILED'], ['cancel', 'READY']] as const) t.test(`${action}: a run that somebody's trigger refuses is named, and keeps no other`, async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const ids = []
  for (const priority of [1, 7, 1]) ids.push(await givenForeignRun(others, { status, priority }))
  await others.query(FORBID)
  const { id } = await startOperation(db, action, { status }, 'test')
  await toTheEnd(db, id)
  t.match(await findOperation(db, id), { status: 'DONE', matched: 3, changed: 2, unchanged: [{ run: ids[1], outcome: 'refused', other: null, error: 'locked by accounting' }] })
  t.strictSame(await misplaced(others), [])
})

t.test("delete: a run that somebody's trigger keeps stays, and the others go", async (t) => {
  const given = await givenDatabase(t)
  const [, kept] = await givenDead(given, 3)
  await given.others.query(`CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'kept'; END $$;
    CREATE TRIGGER keep BEFORE DELETE ON task_runs FOR EACH ROW WHEN (OLD.result_id = ${kept}) EXECUTE FUNCTION keep()`)
  const { id } = await startOperation(given.db, 'delete', { queue: 'mail' }, 'test')
  await toTheEnd(given.db, id)
  t.match(await findOperation(given.db, id), { status: 'DONE', matched: 3, changed: 2 })
  t.equal(await countOf(given, 'true'), 1)
})

t.test('one that cannot be done ends as FAILED and says why; those behind it are done', async (t) => {
  const given = await givenDatabase(t)
  await givenDead(given, 2)
  const bad = await startOperation(given.db, 'retry', { queue: 'mail' }, 'test')
  await given.others.query(`UPDATE reproq_operations SET filter = filter || '{"enqueued_before": "2026-01-01T00:00:00+23:00"}'`)
  const good = await startOperation(given.db, 'retry', { queue: 'mail' }, 'test')
  await continueOperations({ pool: given.db, stopping: new AbortController().signal })
  t.match(await findOperation(given.db, bad.id), { status: 'FAILED', error: /time zone displacement out of range/, finished_at: /^\d/ })
  t.match(await findOperation(given.db, good.id), { status: 'DONE', changed: 2, error: null })
})

t.test('one that a lock keeps back for now fails the look, and not the operations behind it', async (t) => {
  const given = await givenDatabase(t)
  await givenDead(given, 2)
  const held = await startOperation(given.db, 'retry', { queue: 'mail' }, 'test')
  const behind = await startOperation(given.db, 'retry', { queue: 'mail' }, 'test')
  await given.others.query(`CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'held' USING ERRCODE = '55P03'; END $$;
    CREATE TRIGGER held BEFORE UPDATE ON reproq_operations FOR EACH ROW WHEN (OLD.operation_id = ${held.id}) EXECUTE FUNCTION held()`)
  await t.rejects(continueOperations({ pool: given.db, stopping: new AbortController().signal }), { message: /held/ })
  t.match(await findOperation(given.db, held.id), { status: 'RUNNING', changed: 0 })
  t.match(await findOperation(given.db, behind.id), { status: 'DONE', changed: 2 })
})

t.test('times of a filter are stored as Postgres reads them; what is no time is refused at once', async (t) => {
  const { db } = await givenDatabase(t)
  const operation = await startOperation(db, 'retry', { enqueued_before: '2026-01-01T00:00:00+23:00' }, 'test')
  t.match(operation.filter, { enqueued_before: '2025-12-31T01:00:00.000Z' })
  for (const time of ['2026-01-01T23:59:60Z', '0000-01-01T00:00:00Z', '9999-12-31T23:00:00-23:00']) {
    await t.rejects(startOperation(db, 'retry', { finished_after: time }, 'test'), { code: 'INVALID_REQUEST', message: new RegExp(`finished_after "${time}"`) })
  }
})

t.test('a filter that means everything, or what the action cannot be asked of, is refused', async (t) => {
  const { db } = await givenDatabase(t)
  await t.rejects(startOperation(db, 'delete', {}, 'test'), { code: 'INVALID_REQUEST', message: /empty/ })
  await t.rejects(startOperation(db, 'delete', { status: 'RUNNING' }, 'test'), { code: 'INVALID_REQUEST', message: /SUCCESSFUL, FAILED, CANCELLED; filter.status is RUNNING/ })
  await t.rejects(countOperation(db, 'retry', { status: 'SUCCESSFUL' }), { code: 'INVALID_REQUEST' })
})
