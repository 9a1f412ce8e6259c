import t from 'tap'
import { givenDatabase, givenForeignRun, givenLeased, givenRuns, givenSession, misplaced, placesOf, rowOf, statusOf, type Given } from '../../../test/helpers/given.js'
import { reclaim } from '../sessions/sessions.js'
import { finalize, refusals } from './finalize.js'
import { lease } from './lease.js'
import { release } from './release.js'
import { succeed } from './succeed.js'

const hour = () => new Date(Date.now() + 3_600_000)

/** What was notified while `work` ran, as "channel payload". */
async function notifications({ others }: Given, work: () => Promise<unknown>): Promise<string[]> {
  const client = await others.connect()
  const heard: string[] = []
  client.on('notification', ({ channel, payload }) => heard.push(`${channel} ${payload}`.trim()))
  for (const channel of ['reproq_ready', 'reproq_scheduled', 'reproq_cancel']) await client.query(`LISTEN ${channel}`)
  await work()
  // Notifications of earlier commits arrive before the answer to a later query.
  await client.query('SELECT 1')
  client.removeAllListeners('notification')
  await client.query('UNLISTEN *')
  client.release()
  return heard
}

t.test('a row that somebody else inserts is placed, and said', async (t) => {
  const given = await givenDatabase(t)
  const ids: string[] = []
  const heard = await notifications(given, async () => {
    ids.push(await givenForeignRun(given.others), await givenForeignRun(given.others, { run_after: hour() }), await givenForeignRun(given.others, { run_after: new Date(0) }))
    ids.push(await givenForeignRun(given.others, { status: 'WAITING' }), await givenForeignRun(given.others, { status: 'RUNNING', leased_by: 'go' }), await givenForeignRun(given.others, { status: 'SUCCESSFUL' }))
  })
  t.strictSame(await Promise.all(ids.map((id) => placesOf(given.others, id))), [['ready'], ['scheduled'], ['ready'], [], [], []])
  t.strictSame(heard, ['reproq_ready default', 'reproq_scheduled', 'reproq_ready default'])
  t.strictSame(await misplaced(given.others), [])
})

t.test('a queue name of any length aborts nobody and wakes the broker', async (t) => {
  const given = await givenDatabase(t)
  const queue = 'q'.repeat(9_000)
  t.strictSame(await notifications(given, () => givenForeignRun(given.others, { queue_name: 'é'.repeat(200) })), ['reproq_ready'])
  t.strictSame(await notifications(given, () => givenForeignRun(given.others, { queue_name: queue })), ['reproq_ready'])
})

t.test('nothing is said or placed when the transaction of whoever inserts is rolled back', async (t) => {
  const given = await givenDatabase(t)
  const heard = await notifications(given, async () => {
    const client = await given.others.connect()
    await client.query('BEGIN')
    await client.query(`SELECT reproq_enqueue('app.task')`)
    await client.query('ROLLBACK')
    client.release()
  })
  t.strictSame(heard, [])
  t.strictSame((await given.others.query('SELECT * FROM reproq_ready')).rows, [])
})

t.test("the broker's own statements fire no trigger", async (t) => {
  const given = await givenDatabase(t)
  const heard = await notifications(given, async () => {
    const session = await givenSession(given.db, 'w')
    const leased = await givenLeased(given.db, session)
    await succeed(given.db, [{ ...leased, output: '1' }])
    await givenRuns(given.db, { runAfterMs: hour().getTime() })
  })
  t.strictSame(heard, [])
  t.strictSame(await misplaced(given.others), [])
})

t.test('every way somebody else moves a run leaves the narrow tables in step', async (t) => {
  const given = await givenDatabase(t)
  const { others } = given
  const id = await givenForeignRun(others)
  const moves: [set: string, places: string[]][] = [
    [`priority = 7`, ['ready']],
    [`queue_name = 'elsewhere'`, ['ready']],
    [`enqueued_at = now() - interval '1 h'`, ['ready']],
    [`run_after = now() + interval '1 h'`, ['scheduled']],
    [`run_after = now() + interval '2 h'`, ['scheduled']],
    [`priority = 3`, ['scheduled']],
    [`run_after = now() - interval '1 s'`, ['ready']],
    [`status = 'WAITING'`, []],
    [`status = 'READY'`, ['ready']],
    [`status = 'RUNNING', leased_by = 'go-worker'`, []],
    [`status = 'READY', leased_by = NULL, run_after = now() + interval '1 min'`, ['scheduled']],
    [`status = 'FAILED'`, []],
    [`status = 'READY', run_after = NULL`, ['ready']],
    [`metadata_json = '{"a": 1}'`, ['ready']],
    [`status = 'SUCCESSFUL'`, []],
  ]
  for (const [set, places] of moves) {
    await others.query(`UPDATE task_runs SET ${set} WHERE result_id = $1`, [id])
    t.strictSame(await placesOf(others, id), places, set)
    t.strictSame(await misplaced(others), [], set)
  }
})

t.test('a raised priority moves the run forward', async (t) => {
  const given = await givenDatabase(t)
  const [first, second] = [await givenForeignRun(given.others), await givenForeignRun(given.others)]
  await given.others.query('UPDATE task_runs SET priority = 1 WHERE result_id = $1', [second])
  const { runs } = await lease(given.db, ['default'], [{ sessionId: '1', workerId: 'w' }, { sessionId: '1', workerId: 'w' }], 1_000)
  t.strictSame(runs.map(({ run }) => run), [second, first])
})

t.test('a deleted run leaves nothing behind, wherever it was', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, {}, { runAfterMs: hour().getTime() }, { idempotencyKey: 'k' })
  const leased = await givenLeased(given.db, await givenSession(given.db, 'w'))
  await given.others.query('DELETE FROM task_runs')
  for (const table of ['reproq_ready', 'reproq_scheduled', 'reproq_leases', 'reproq_idempotency']) t.strictSame((await given.others.query(`SELECT * FROM ${table}`)).rows, [], table)
  t.strictSame((await succeed(given.db, [{ ...leased, output: '1' }])).held, [false])
  t.match(await refusals(given.db, [leased]), [{ verdict: 'stale_lease' }])
})

t.test('whoever takes a run from our worker breaks its lease: failed by Admin, reclaimed by the Go worker', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'w')
  const takeovers = [`status = 'FAILED'`, `status = 'CANCELLED'`, `status = 'READY', leased_by = NULL, leased_until = NULL`, `leased_by = 'go-worker'`, `status = 'SUCCESSFUL', return_json = '"theirs"'`]
  for (const set of takeovers) {
    const leased = await givenLeased(given.db, session)
    await given.others.query(`UPDATE task_runs SET ${set} WHERE result_id = $1`, [leased.run])
    const theirs = await rowOf(given.others, leased.run)
    t.equal(theirs.reproq_lease_id, null, set)
    t.strictSame((await succeed(given.db, [{ ...leased, output: '"ours"' }])).held, [false], set)
    t.strictSame(await finalize(given.db, [{ ...leased, status: 'FAILED', error: '{}', lastError: 'ours', delayMs: 0 }]), [], set)
    t.strictSame(await release(given.db, [{ ...leased, delayMs: 0 }]), [], set)
    t.strictSame(await rowOf(given.others, leased.run), theirs, `${set}: their word stands`)
    t.strictSame(await misplaced(given.others), [], set)
    await given.others.query('DELETE FROM task_runs')
  }
})

t.test('a note on a running run, a new priority, or a wish to cancel it leaves its lease alone', async (t) => {
  const given = await givenDatabase(t)
  const leased = await givenLeased(given.db, await givenSession(given.db, 'w'))
  const heard = await notifications(given, () => given.others.query(`UPDATE task_runs SET metadata_json = '{"a": 1}', leased_until = now(), cancel_requested = true`))
  t.strictSame(heard, [`reproq_cancel ${leased.run}`])
  // What places a run that waits says nothing about one that runs: without its lease row nobody would reap it.
  await given.others.query(`UPDATE task_runs SET priority = 9, queue_name = 'elsewhere', run_after = now() + interval '1 h'`)
  t.strictSame(await placesOf(given.others, leased.run), ['leased'])
  t.strictSame((await succeed(given.db, [{ ...leased, output: '1' }])).held, [true])
  t.equal(await statusOf(given.others, leased.run), 'SUCCESSFUL')
})

t.test('a wish to cancel ends with the run it was about: whoever makes that ready again wants it run', async (t) => {
  const { others } = await givenDatabase(t)
  for (const ended of ['SUCCESSFUL', 'FAILED', 'CANCELLED']) {
    const id = await givenForeignRun(others, { status: ended, cancel_requested: true })
    await others.query(`UPDATE task_runs SET status = 'READY', run_after = now() WHERE result_id = $1`, [id])
    t.equal((await rowOf(others, id)).cancel_requested, false, ended)
    t.strictSame(await placesOf(others, id), ['ready'])
  }
  const reclaimed = await givenForeignRun(others, { status: 'RUNNING', cancel_requested: true })
  await others.query(`UPDATE task_runs SET status = 'READY' WHERE result_id = $1`, [reclaimed])
  t.equal((await rowOf(others, reclaimed)).cancel_requested, true, 'one that had not ended still is to be cancelled')
  await others.query(`UPDATE task_runs SET status = 'FAILED', cancel_requested = false WHERE result_id = $1`, [reclaimed])
  await others.query(`UPDATE task_runs SET status = 'READY', cancel_requested = true WHERE result_id = $1`, [reclaimed])
  t.equal((await rowOf(others, reclaimed)).cancel_requested, true, 'and one wished for at the same time counts')
  t.strictSame(await misplaced(others), [])
})

t.test('a queue control that changes is said, so that a resumed queue moves at once', async (t) => {
  const given = await givenDatabase(t)
  t.strictSame(await notifications(given, () => given.others.query(`INSERT INTO reproq_queue_controls (queue_name, paused) VALUES ('a', true)`)), ['reproq_ready'])
  t.strictSame(await notifications(given, () => given.others.query('UPDATE reproq_queue_controls SET paused = false')), ['reproq_ready'])
})

t.test('what a dead Go worker left RUNNING is taken back when its lease has passed, as Reproq does', async (t) => {
  const given = await givenDatabase(t)
  const theirs = (lease: string, columns: Record<string, unknown> = {}) =>
    givenForeignRun(given.others, { status: 'RUNNING', leased_by: 'go-1', attempts: 1, max_attempts: 3, leased_until: lease, ...columns })
  const past = '2020-01-01Z'
  const again = await theirs(past, { lock_key: 'k' })
  const last = await theirs(past, { attempts: 3 })
  const unwanted = await theirs(past, { cancel_requested: true })
  const alive = await theirs('2126-01-01Z')
  const endless = await givenForeignRun(given.others, { status: 'RUNNING' })
  const claimed = await givenForeignRun(given.others)
  await given.others.query(`UPDATE task_runs SET status = 'RUNNING', leased_by = 'go-2', leased_until = now() - interval '1 s', attempts = 1 WHERE result_id = $1`, [claimed])
  const ours = await givenLeased(given.db, await givenSession(given.db, 'w'))
  await given.others.query(`UPDATE task_runs SET leased_until = $2 WHERE result_id = $1`, [ours.run, past])

  const taken = await reclaim(given.db)
  t.strictSame(taken.map(({ run, status, workerId, keyed }) => [run, status, workerId, keyed]).sort(), [
    [again, 'READY', 'go-1', true],
    [last, 'FAILED', 'go-1', false],
    [unwanted, 'CANCELLED', 'go-1', false],
    [claimed, 'READY', 'go-2', false],
  ])
  t.match(await rowOf(given.others, last), { leased_by: null, failed_at: Date, finished_at: Date, last_error: /^lease_expiry/, errors_json: [{ kind: 'lease_expiry', worker_id: 'go-1', attempt: 3 }] })
  t.match(await rowOf(given.others, again), { attempts: 1, last_error: null, finished_at: null, errors_json: [{ kind: 'lease_expiry' }] })
  t.strictSame((await given.others.query('SELECT result_id::text AS run FROM reproq_foreign_leases ORDER BY result_id')).rows, [{ run: alive }, { run: endless }], 'nobody knows that these are not run')
  t.strictSame(await placesOf(given.others, ours.run), ['leased'])
  t.strictSame((await given.others.query('SELECT key FROM reproq_freed')).rows, [{ key: 'lock:k' }])
  t.strictSame(await reclaim(given.db), [])
  t.strictSame(await misplaced(given.others), [])
  await given.others.query(`DELETE FROM task_runs WHERE result_id = $1`, [alive])
  await given.others.query(`UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id = $1`, [endless])
  t.strictSame((await given.others.query('SELECT * FROM reproq_foreign_leases')).rows, [])

  await theirs('2126-01-01Z')
  await given.others.query('TRUNCATE task_runs CASCADE')
  await reclaim(given.db)
  t.strictSame((await given.others.query('SELECT * FROM reproq_foreign_leases')).rows, [], 'also what went past the triggers')
})
