import t from 'tap'
import { controlFor, givenDatabase, givenForeignRun, givenLeased, givenRuns, givenSession, misplaced, newRunOf, placesOf, rowOf, statusOf } from '../../../test/helpers/given.js'
import { finalize } from './finalize.js'
import { enqueue } from './enqueue.js'
import { lease } from './lease.js'
import { newestOfHash, replay } from './replay.js'
import { requeue } from './requeue.js'
import { succeed } from './succeed.js'

/** As Go's SQL makes it; a database of our own has none. */
const GO_UNIQUE = `CREATE UNIQUE INDEX idx_task_runs_spec_unique ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING')`
const DEAD = { status: 'FAILED', attempts: 3, finished_at: new Date(), failed_at: new Date(), last_error: 'boom', errors_json: '[{"kind": "app_error", "message": "boom"}]', worker_ids: '["w"]' }

t.test('a retry gives a dead letter all its attempts again, and keeps what it has been through', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const leased = await givenLeased(db, session, { queue: 'mail' })
  await finalize(db, [{ run: leased.run, lease: leased.lease, status: 'FAILED', error: '{"message": "boom"}', lastError: 'boom', delayMs: 0 }])
  await others.query('UPDATE task_runs SET cancel_requested = true, expires_at = now() WHERE result_id = $1', [leased.run])

  t.strictSame(await requeue(db, [leased.run]), [{ run: leased.run, outcome: 'retried', other: null, error: null }])

  t.match(await rowOf(others, leased.run), { status: 'READY', attempts: 0, cancel_requested: false, expires_at: null, finished_at: null, failed_at: null, last_error: null, started_at: null, reproq_lease_id: null, errors_json: [{ message: 'boom' }], worker_ids: ['worker'] })
  t.strictSame(await succeed(db, [{ run: leased.run, lease: leased.lease, output: '1' }]), { held: [false], keyed: false }, 'the lease of before proves nothing')
  const { runs } = await lease(db, ['mail'], [session], 60_000)
  t.match(runs, [{ run: leased.run, attempt: 1, cancelRequested: false }])
  t.strictSame(await misplaced(others), [])
})

t.test('what is not over, or went well, is not retried; a cancelled run is', async (t) => {
  const { db, others } = await givenDatabase(t)
  const [ready] = await givenRuns(db, {})
  const ids = [ready as string]
  for (const status of ['SUCCESSFUL', 'CANCELLED', 'WAITING', 'RUNNING']) ids.push(await givenForeignRun(others, { status }))
  t.strictSame((await requeue(db, [...ids, '999999'])).map(({ outcome }) => outcome), ['not_final', 'already_successful', 'retried', 'not_final', 'not_final'])
  t.strictSame(await Promise.all(ids.map((id) => statusOf(others, id))), ['READY', 'SUCCESSFUL', 'READY', 'WAITING', 'RUNNING'])
  t.strictSame(await misplaced(others), [])
})

t.test('a twin keeps back itself, not the rest', async (t) => {
  const { db, others } = await givenDatabase(t)
  await others.query(GO_UNIQUE)
  const dead = async (hash: string) => givenForeignRun(others, { ...DEAD, spec_hash: hash })
  const [first, second, third] = [await dead('a'), await dead('a'), await dead('b')]
  const active = await givenForeignRun(others, { spec_hash: 'c' })
  const fourth = await dead('c')
  t.strictSame(await requeue(db, [fourth, third, second, first]), [
    { run: first, outcome: 'retried', other: null, error: null },
    { run: second, outcome: 'duplicate', other: first, error: null },
    { run: third, outcome: 'retried', other: null, error: null },
    { run: fourth, outcome: 'duplicate', other: active, error: null },
  ])
  t.strictSame(await Promise.all([first, second, third, fourth].map((id) => statusOf(others, id))), ['READY', 'FAILED', 'READY', 'FAILED'])
  t.match(await replay(db, [second, fourth]), [{ outcome: 'duplicate', other: first }, { outcome: 'duplicate', other: active }])
  t.strictSame(await misplaced(others), [])
})

t.test('of runs that asked to be the only one of their kind, one at a time is retried or replayed', async (t) => {
  const { db, others } = await givenDatabase(t)
  const unique = newRunOf({ specHash: 'u', control: controlFor({ deduplicate: true }) })
  const failed = async () => {
    const [placed] = await enqueue(db, [unique])
    await others.query(`UPDATE task_runs SET status = 'FAILED', finished_at = now() WHERE result_id = $1`, [placed?.id])
    return placed?.id as string
  }
  const [first, second] = [await failed(), await failed()]
  t.strictSame(await requeue(db, [second, first]), [{ run: first, outcome: 'retried', other: null, error: null }, { run: second, outcome: 'duplicate', other: first, error: null }])
  t.match(await replay(db, [second]), [{ outcome: 'duplicate', other: first }])
  t.match(await enqueue(db, [unique]), [{ id: first, deduplicated: true }], 'the retried one is the answer')

  await others.query(`UPDATE task_runs SET status = 'CANCELLED', finished_at = now() WHERE result_id = $1`, [first])
  const [replayed] = await replay(db, [second])
  t.match(replayed, { outcome: 'replayed' })
  t.match(await requeue(db, [first]), [{ outcome: 'duplicate', other: replayed?.other }])
  t.match(await enqueue(db, [unique]), [{ id: replayed?.other, deduplicated: true }])
  t.strictSame(await misplaced(others), [])
})

t.test("a replay that somebody's own index refuses leaves the hash where it was, and keeps no other", async (t) => {
  const { db, others } = await givenDatabase(t)
  const [first, second] = await enqueue(db, [newRunOf({ specHash: 'u', priority: 7, control: controlFor({ deduplicate: true }) }), newRunOf({ specHash: 'v' })])
  await others.query(`UPDATE task_runs SET status = 'FAILED', finished_at = now(); CREATE UNIQUE INDEX theirs ON task_runs (priority) WHERE priority = 7`)
  t.match(await replay(db, [first?.id as string, second?.id as string]), [{ outcome: 'duplicate' }, { outcome: 'replayed' }])
  t.match((await others.query('SELECT result_id::text AS id FROM reproq_unique')).rows, [{ id: first?.id }])
})

t.test('a replay is a new run like the old one; the hash is copied', async (t) => {
  const { db, others } = await givenDatabase(t)
  const control = controlFor({ lockKey: 'l', concurrencyKey: 'c', concurrencyLimit: 2, fairKey: 'f', retry: { base_ms: 5 }, expiresInMs: 3_600_000 })
  const [placed] = await enqueue(db, [newRunOf({ task: 'a.b', queue: 'mail', priority: 7, spec: '{"args": [1.0], "kwargs": {}}', specHash: 'h', maxAttempts: 9, timeoutSeconds: 5, control })])
  const old = placed?.id as string
  await others.query(`UPDATE task_runs SET status = 'FAILED', attempts = 9, last_error = 'x', enqueued_at = now() - interval '1 day', expires_at = now() - interval '23 hours' WHERE result_id = $1`, [old])

  const [replayed] = await replay(db, [old])

  t.match(replayed, { run: old, outcome: 'replayed', other: /\d/ })
  const [before, now] = [await rowOf(others, old), await rowOf(others, replayed?.other as string)]
  const copied = ['task_path', 'queue_name', 'priority', 'spec_json', 'spec_hash', 'max_attempts', 'timeout_seconds', 'backend_alias', 'lock_key', 'concurrency_key', 'concurrency_limit', 'reproq_fair_key', 'reproq_retry']
  for (const column of copied) t.strictSame(now[column], before[column], column)
  t.match(now, { status: 'READY', attempts: 0, last_error: null, worker_ids: [], errors_json: [] })
  const lifetimeMs = (row: Record<string, unknown>) => Number(row.expires_at) - Number(row.enqueued_at)
  t.equal(lifetimeMs(now), lifetimeMs(before), 'it expires as long after its enqueue')
  t.match(before, { status: 'FAILED', attempts: 9 }, 'the old one is as it was')
  t.match(await replay(db, [replayed?.other as string]), [{ outcome: 'not_final' }])
  t.strictSame(await misplaced(others), [])
})

t.test('a hash means its newest run', async (t) => {
  const { db } = await givenDatabase(t)
  const [, second] = await givenRuns(db, { specHash: 'twice' }, { specHash: 'twice' })
  await givenRuns(db, { specHash: 'other' })
  t.equal(await newestOfHash(db, 'twice'), second)
  t.equal(await newestOfHash(db, 'none'), undefined)
})

t.test('however retries, replays and enqueues of an only one meet, one of its kind is active', async (t) => {
  const { db, others } = await givenDatabase(t)
  const unique = newRunOf({ specHash: 'u', control: controlFor({ deduplicate: true }) })
  await enqueue(db, [unique])
  let rounds = 0
  for (const until = Date.now() + 2_000; Date.now() < until; rounds++) {
    const { rows } = await others.query<{ id: string }>(`UPDATE task_runs SET status = 'FAILED', finished_at = now() WHERE status <> 'FAILED' OR result_id = 1 RETURNING result_id::text AS id`)
    const dead = rows.map(({ id }) => id)
    await Promise.all([requeue(db, dead), enqueue(db, [unique]), replay(db, dead), requeue(db, dead.toReversed()), enqueue(db, [unique])])
    const active = await others.query(`SELECT result_id FROM task_runs WHERE status = 'READY'`)
    if (active.rows.length !== 1) return t.fail(`${active.rows.length} are active in round ${rounds}`)
  }
  t.ok(rounds > 20, `${rounds} rounds`)
  t.strictSame(await misplaced(others), [])
})

t.test('retried from many sides at once, a run is retried once', async (t) => {
  const { db, others } = await givenDatabase(t)
  const ids: string[] = []
  for (let n = 0; n < 30; n++) ids.push(await givenForeignRun(others, { ...DEAD, spec_hash: `h${n}` }))
  const answers = await Promise.all(Array.from({ length: 8 }, (_, at) => requeue(db, at % 2 ? ids : ids.toReversed())))
  t.equal(answers.flat().filter(({ outcome }) => outcome === 'retried').length, 30)
  t.strictSame(await misplaced(others), [])
  t.strictSame(await placesOf(others, ids[0] as string), ['ready'])
})
