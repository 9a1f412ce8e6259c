import { readFileSync } from 'node:fs'
import pg from 'pg'
import t from 'tap'
import { emptyDatabase } from '../../../test/helpers/database.js'
import { givenDatabase, givenForeignRun, givenSession, misplaced, newRunOf } from '../../../test/helpers/given.js'
import { migrate } from '../db/migrate.js'
import { Pool, SESSION } from '../db/pool.js'
import { forget, pruneAll, pruneStep } from './prune.js'
import { enqueue } from './enqueue.js'
import { lease } from './lease.js'
import { succeed } from './succeed.js'

const HOUR_MS = 3_600_000
const DAY = 86_400
const ago = (ms: number) => new Date(Date.now() - ms)

/** A run that ended, and was made, so long ago. */
async function ended(others: pg.Pool, status: string, agoMs: number, columns: Record<string, unknown> = {}): Promise<string> {
  return givenForeignRun(others, { status, created_at: ago(agoMs), updated_at: ago(agoMs), enqueued_at: ago(agoMs), finished_at: ago(agoMs), ...columns })
}

async function idsOf(others: pg.Pool): Promise<string[]> {
  return (await others.query<{ id: string }>('SELECT result_id::text AS id FROM task_runs ORDER BY result_id')).rows.map(({ id }) => id)
}

t.test('what is over for longer than it is kept is deleted, by status; everything else stays', async (t) => {
  const { db, others } = await givenDatabase(t)
  const old = [await ended(others, 'SUCCESSFUL', 30 * HOUR_MS), await ended(others, 'CANCELLED', 30 * HOUR_MS)]
  const expired = await ended(others, 'FAILED', 30 * HOUR_MS, { expires_at: ago(HOUR_MS) })
  const kept = [
    await ended(others, 'SUCCESSFUL', 20 * HOUR_MS),
    await ended(others, 'FAILED', 1_000 * HOUR_MS),
    await givenForeignRun(others, { status: 'SUCCESSFUL', created_at: ago(99 * HOUR_MS), finished_at: ago(HOUR_MS) }),
    ...(await Promise.all(['READY', 'RUNNING', 'WAITING'].map((status) => givenForeignRun(others, { status, created_at: ago(99 * HOUR_MS), enqueued_at: ago(99 * HOUR_MS), expires_at: ago(50 * HOUR_MS) })))),
  ]
  const keep = { SUCCESSFUL: DAY, CANCELLED: DAY, EXPIRED: 0 }
  t.strictSame(await pruneAll(db, keep, { dryRun: true }), { due: 3, deleted: 0 })
  t.strictSame(await pruneAll(db, keep, { limit: 1 }), { due: 1, deleted: 1 })
  t.strictSame(await pruneAll(db, keep), { due: 2, deleted: 2 })
  t.strictSame((await idsOf(others)).filter((id) => [...old, expired].includes(id)), [])
  t.strictSame(await idsOf(others), kept.toSorted((a, b) => Number(a) - Number(b)))
})

for (const [shape, file] of [['ours', undefined], ["Django's", 'django-schema.sql'], ["Go's", 'go-schema.sql']] as const) {
  t.test(`nothing that something alive needs is deleted, and one that cannot be keeps nobody back: ${shape} tables`, async (t) => {
    const { url, pool: others } = await emptyDatabase(t)
    if (file) await others.query(readFileSync(new URL(`../../../../test/compat/${file}`, import.meta.url), 'utf8'))
    await migrate({ url })
    const db = new Pool(url, 2)
    t.teardown(() => db.close())
    const old = (status: string, columns = {}) => ended(others, status, 99 * HOUR_MS, { spec_hash: Math.random().toString(36), ...columns })
    const workflow = '00000000-0000-4000-8000-000000000001'

    const parent = await old('SUCCESSFUL')
    const child = await old('WAITING', { parent_id: parent, wait_count: 1 })
    const member = await old('SUCCESSFUL', { workflow_id: workflow })
    const callback = await old('WAITING', { workflow_id: workflow })
    const referred = await old('SUCCESSFUL')
    await others.query('CREATE TABLE receipt (run bigint REFERENCES task_runs (result_id) DEFERRABLE INITIALLY DEFERRED)')
    await others.query('INSERT INTO receipt VALUES ($1)', [referred])
    const deadParent = await old('SUCCESSFUL')
    // Too young to go itself.
    const deadChild = await ended(others, 'SUCCESSFUL', HOUR_MS, { parent_id: deadParent, spec_hash: 'young' })
    for (let n = 0; n < 5; n++) await old('SUCCESSFUL')

    const { due, deleted } = await pruneAll(db, { SUCCESSFUL: DAY })

    t.strictSame({ due, deleted }, { due: 9, deleted: 6 })
    t.strictSame(await idsOf(others), [parent, child, member, callback, referred, deadChild])
    const { rows } = await others.query('SELECT parent_id FROM task_runs WHERE result_id = ANY ($1) ORDER BY result_id', [[child, deadChild]])
    t.strictSame(rows, [{ parent_id: parent }, { parent_id: null }])
    await others.query(`UPDATE task_runs SET status = 'CANCELLED', finished_at = now() WHERE result_id = ANY ($1)`, [[child, callback]])
    t.strictSame((await pruneAll(db, { SUCCESSFUL: DAY })).deleted, 2, 'when nothing alive needs it any more it goes')
  })
}

t.test('whether a workflow goes on is looked at once, however many of its runs are to go', async (t) => {
  const { others, url } = await givenDatabase(t)
  const RUNS = 3_000
  await others.query(`INSERT INTO task_runs (spec_json, spec_hash, task_path, workflow_id, status) SELECT '{}', n, 'a', '00000000-0000-4000-8000-000000000001', 'SUCCESSFUL' FROM generate_series(1, ${RUNS}) n`)
  // The statistics say that a workflow has few runs.
  await others.query(`INSERT INTO task_runs (spec_json, spec_hash, task_path, workflow_id, status) SELECT '{}', n, 'a', gen_random_uuid(), 'SUCCESSFUL' FROM generate_series(1, ${5 * RUNS}) n`)
  await others.query('ANALYZE task_runs')
  const client = new pg.Client({ connectionString: url, options: SESSION.map((setting) => `-c ${setting}`).join(' ') })
  await client.connect()
  await client.query('BEGIN')
  const read = async () => Number((await client.query(`SELECT seq_tup_read + idx_tup_fetch AS rows FROM pg_stat_xact_user_tables WHERE relname = 'task_runs'`)).rows[0].rows)
  const before = await read()
  const { rows } = await client.query('SELECT cardinality(reproq_delete_runs(ARRAY(SELECT result_id FROM task_runs ORDER BY result_id LIMIT 300))) AS gone')
  const after = await read()
  await client.query('ROLLBACK')
  await client.end()
  t.equal(rows[0].gone, 300)
  t.ok(after - before < 3 * RUNS, `${after - before} rows were read to delete 300 of ${RUNS}`)
})

t.test('a run that came back to life since somebody looked is not deleted', async (t) => {
  const { others } = await givenDatabase(t)
  const over = await ended(others, 'FAILED', HOUR_MS)
  const live = await Promise.all(['READY', 'WAITING', 'RUNNING'].map((status) => givenForeignRun(others, { status })))
  t.strictSame((await others.query('SELECT reproq_delete_runs($1) AS gone', [[over, ...live]])).rows, [{ gone: [over] }])
  t.strictSame(await misplaced(others), [])
})

t.test('by the clock: the front goes through what became old enough, the back returns to what was left behind', async (t) => {
  const { db, others } = await givenDatabase(t)
  const keep = { SUCCESSFUL: DAY }
  await others.query(`INSERT INTO task_runs (spec_json, spec_hash, task_path, status, created_at, updated_at, finished_at)
    SELECT '{}', 'h', 't', CASE WHEN n % 1000 = 7 THEN 'WAITING' ELSE 'SUCCESSFUL' END, now() - interval '2 days', now() - interval '2 days', now() - interval '2 days' FROM generate_series(1, 2500) n`)
  const [young] = [await ended(others, 'SUCCESSFUL', HOUR_MS)]
  const steps = []
  for (let again = true; again; ) {
    const step = await pruneStep(db, keep)
    steps.push(step.deleted)
    again = step.again
  }
  t.strictSame(steps, [999, 999, 499], 'a page at a time')
  t.equal((await idsOf(others)).length, 4, 'three live, one young')
  await others.query(`UPDATE task_runs SET status = 'SUCCESSFUL', finished_at = now() - interval '25 hours' WHERE status = 'WAITING'`)
  t.equal((await pruneStep(db, keep)).deleted, 3)
  t.strictSame(await idsOf(others), [young])
  t.strictSame(await pruneStep(db, keep), { deleted: 0, again: false })
})

t.test('a row from a clock that was wrong does not stop the front', async (t) => {
  const { db, others } = await givenDatabase(t)
  await ended(others, 'SUCCESSFUL', 48 * HOUR_MS)
  const future = await ended(others, 'SUCCESSFUL', -9_999 * HOUR_MS)
  await ended(others, 'SUCCESSFUL', 48 * HOUR_MS)
  await pruneStep(db, { SUCCESSFUL: DAY })
  t.strictSame(await idsOf(others), [future])
})

t.test('while runs are made, run and end, and several prune at once, only what is over goes', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const until = Date.now() + 2_000
  const made: string[] = []
  const succeeded: string[] = []
  let pruned = 0
  const produce = async () => {
    while (Date.now() < until) made.push(...(await enqueue(db, Array.from({ length: 20 }, () => newRunOf()))).map(({ id }) => id))
  }
  const work = async () => {
    while (Date.now() < until) {
      const { runs } = await lease(db, ['default'], Array.from({ length: 10 }, () => session), 60_000)
      // Half of them go on.
      const over = runs.filter((_, at) => at % 2 === 0)
      await succeed(db, over.map(({ run, lease }) => ({ run, lease, output: '1' })))
      succeeded.push(...over.map(({ run }) => run))
    }
  }
  const prune = async () => {
    while (Date.now() < until) {
      const counts = [await pruneAll(db, { SUCCESSFUL: 0 }), await pruneStep(db, { SUCCESSFUL: 0 })]
      for (const { deleted } of counts) pruned += deleted
    }
  }
  await Promise.all([produce(), produce(), work(), work(), prune(), prune()])
  const last = await pruneAll(db, { SUCCESSFUL: 0 })
  pruned += last.deleted

  t.ok(pruned > 100, `${pruned} of ${made.length}`)
  t.equal(pruned, succeeded.length, 'each once')
  const left = new Set(await idsOf(others))
  t.strictSame(made.filter((id) => !left.has(id)).length, succeeded.length)
  t.strictSame(succeeded.filter((id) => left.has(id)), [])
  t.strictSame(await misplaced(others), [])
})

t.test('workers that nobody has heard of are forgotten, unless they have a session', async (t) => {
  const { db, others } = await givenDatabase(t)
  await givenSession(db, 'ours')
  await others.query(`INSERT INTO reproq_workers (worker_id, last_seen_at) VALUES ('go-dead', now() - interval '25 h'), ('go-live', now() - interval '1 h')`)
  await others.query(`UPDATE reproq_workers SET last_seen_at = now() - interval '99 h' WHERE worker_id = 'ours'`)
  await others.query(`INSERT INTO reproq_operations (action, filter, status, first_id, cursor_id, last_id, finished_at) VALUES ('retry', '{}', 'DONE', 0, 0, 0, now() - interval '31 days'), ('retry', '{}', 'RUNNING', 0, 0, 0, NULL)`)
  t.equal(await forget(db, 24, 720), 1)
  t.strictSame((await others.query('SELECT worker_id FROM reproq_workers ORDER BY 1')).rows, [{ worker_id: 'go-live' }, { worker_id: 'ours' }])
  t.strictSame((await others.query('SELECT status FROM reproq_operations')).rows, [{ status: 'RUNNING' }])
})
