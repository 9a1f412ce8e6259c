import t from 'tap'
import { givenDatabase, givenForeignRun, givenLeased, givenRuns, givenSession, misplaced, newRunOf, placesOf, rowOf, statusOf, type Given } from '../../../test/helpers/given.js'
import { Pool } from '../db/pool.js'
import { cancel } from './cancel.js'
import { enqueue } from './enqueue.js'
import { finalize, refusals, type Finalization } from './finalize.js'
import { lease } from './lease.js'
import { promote } from './promote.js'
import { release } from './release.js'
import { succeed } from './succeed.js'
import { extendLeases, overdue } from './watch.js'

const HOUR_MS = 3_600_000
const verdict = (leased: { run: string; lease: string }, item: Partial<Finalization> = {}): Finalization => ({ run: leased.run, lease: leased.lease, status: 'FAILED', error: '{}', lastError: null, delayMs: 0, ...item })
const slots = (count: number) => Array.from({ length: count }, () => ({ sessionId: '1', workerId: 'w' }))
const leaseIds = async ({ db }: Given, count: number, queues = ['default']) => (await lease(db, queues, slots(count), 60_000)).runs.map(({ run }) => run)

t.test('enqueue answers in the order asked, and puts each run where it belongs', async (t) => {
  const { db, others } = await givenDatabase(t)
  const placed = await enqueue(db, [newRunOf({ task: 'a' }), newRunOf({ task: 'b', runAfterMs: Date.now() + HOUR_MS }), newRunOf({ task: 'c', runAfterMs: 1 }), newRunOf({ task: 'd' })])
  const rows = await Promise.all(placed.map(({ id }) => rowOf(others, id)))
  t.strictSame(rows.map((row) => row.task_path), ['a', 'b', 'c', 'd'])
  t.strictSame(placed.map(({ id }) => Number(id)), placed.map(({ id }) => Number(id)).toSorted((a, b) => a - b), 'ids ascend')
  t.strictSame(await Promise.all(placed.map(({ id }) => placesOf(others, id))), [['ready'], ['scheduled'], ['ready'], ['ready']], 'a time that has passed is no time to wait for')
  t.ok((placed[1]?.delayMs ?? 0) > HOUR_MS - 60_000)
  t.strictSame(await misplaced(others), [])
})

t.test('enqueue stores all or none', async (t) => {
  const { db, others } = await givenDatabase(t)
  await t.rejects(enqueue(db, [newRunOf(), newRunOf({ spec: 'not json' }), newRunOf()]), { code: 'DATABASE_REFUSED' })
  await t.rejects(enqueue(db, [newRunOf({ idempotencyKey: 'k' }), newRunOf({ spec: '"\\u0000"' })]), { code: 'DATABASE_REFUSED' })
  const { rows } = await others.query('SELECT result_id FROM task_runs UNION ALL SELECT result_id FROM reproq_ready UNION ALL SELECT result_id FROM reproq_idempotency')
  t.strictSame(rows, [])
})

t.test('a key that comes twice makes one run, within a batch, across batches, and from connections at once', async (t) => {
  const { db, others } = await givenDatabase(t)
  const keyed = newRunOf({ idempotencyKey: 'k' })
  const first = await enqueue(db, [keyed, newRunOf(), keyed])
  t.equal(first[2]?.id, first[0]?.id)
  t.not(first[1]?.id, first[0]?.id)
  t.strictSame(first.map(({ deduplicated }) => deduplicated), [false, false, true])
  t.match(await enqueue(db, [newRunOf({ task: 'other', idempotencyKey: 'k' }), keyed]), [{ deduplicated: false }, { id: first[0]?.id, deduplicated: true }])

  const keys = Array.from({ length: 20 }, (_, at) => newRunOf({ idempotencyKey: `c${at}` }))
  const batches = await Promise.all(Array.from({ length: 8 }, (_, at) => enqueue(db, at % 2 ? keys : keys.toReversed())))
  t.equal(new Set(batches.flat().map(({ id }) => id)).size, 20, 'in whatever order the batches name them')
  t.equal(batches.flat().filter(({ deduplicated }) => !deduplicated).length, 20)
  t.strictSame(await misplaced(others), [])
})

t.test('the best run is leased first: by priority, a step of which is worth a minute of waiting', async (t) => {
  const given = await givenDatabase(t)
  const now = Date.now()
  const ago = (seconds: number) => new Date(now - seconds * 1_000)
  const plain = await givenForeignRun(given.others, { enqueued_at: ago(0) })
  const urgent = await givenForeignRun(given.others, { priority: 1, enqueued_at: ago(0) })
  const older = await givenForeignRun(given.others, { enqueued_at: ago(61) })
  const nearlyAsOld = await givenForeignRun(given.others, { enqueued_at: ago(59) })
  const idle = await givenForeignRun(given.others, { priority: -10, enqueued_at: ago(0) })
  t.strictSame(await leaseIds(given, 10), [older, urgent, nearlyAsOld, plain, idle])
})

t.test('equals are leased first come, first served; queues take turns', async (t) => {
  const given = await givenDatabase(t)
  const [a1, b1, a2, b2, a3] = await givenRuns(given.db, { queue: 'a' }, { queue: 'b' }, { queue: 'a' }, { queue: 'b' }, { queue: 'a' })
  t.strictSame(await leaseIds(given, 2, ['b', 'a']), [b1, a1])
  t.strictSame(await leaseIds(given, 9, ['a', 'b']), [a2, b2, a3])
})

t.test('a lease says all a worker needs, and the row says who has it', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w#1')
  const [id] = await givenRuns(db, { spec: '{"args": [12345678901234567890, 1.0]}', timeoutSeconds: 7, maxAttempts: 5 })
  const { runs, taken } = await lease(db, ['default'], [session, session], 60_000)
  t.equal(taken, 1, 'fewer than places: the queue is empty')
  t.match(runs, [{ slot: 0, run: id, lease: /^[0-9a-f-]{36}$/, task: 't.task', queue: 'default', attempt: 1, maxAttempts: 5, timeoutMs: 7_000, spec: '{"args": [12345678901234567890, 1.0]}', cancelRequested: false }])
  const row = await rowOf(others, id as string)
  t.match(row, { status: 'RUNNING', attempts: 1, leased_by: 'w#1', worker_ids: ['w#1'], reproq_lease_id: runs[0]?.lease })
  t.ok((row.leased_until as Date).getTime() > Date.now() + 30_000)
  t.strictSame(await misplaced(others), [])
})

t.test('never more are leased than there are places, whatever plan the planner takes', async (t) => {
  const { others, url } = await givenDatabase(t)
  for (let i = 0; i < 40; i++) await givenForeignRun(others, { queue_name: i % 2 ? 'a' : 'b' })
  for (const knobs of ['', '-c enable_hashjoin=off -c enable_mergejoin=off -c enable_material=off -c enable_memoize=off', '-c enable_nestloop=off -c enable_hashjoin=off', '-c enable_indexscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off']) {
    const db = new Pool(`${url}?options=${encodeURIComponent(`-c reproq.internal=on ${knobs}`)}`, 1)
    t.teardown(() => db.close())
    for (const queues of [['a', 'b'], ['b'], ['a', 'nothing']]) {
      const { runs, taken } = await lease(db, queues, slots(2), 60_000)
      t.strictSame([runs.length, taken], [2, 2], `${queues.join()} ${knobs}`)
    }
  }
  t.strictSame(await misplaced(others), [])
})

t.test('leases taken at the same time never share a run', async (t) => {
  const given = await givenDatabase(t)
  const ids = await givenRuns(given.db, ...Array.from({ length: 60 }, () => ({})))
  const leased = (await Promise.all(Array.from({ length: 8 }, () => leaseIds(given, 10)))).flat()
  leased.push(...(await leaseIds(given, 60)))
  t.strictSame(leased.toSorted(), ids.toSorted())
  t.strictSame(await misplaced(given.others), [])
})

t.test('a run that somebody else is just taking is not waited for', async (t) => {
  const given = await givenDatabase(t)
  const [first, second] = await givenRuns(given.db, {}, {})
  const other = await given.others.connect()
  await other.query('BEGIN')
  await other.query('SELECT FROM reproq_ready WHERE result_id = $1 FOR UPDATE', [first])
  t.strictSame(await leaseIds(given, 5), [second])
  await other.query('ROLLBACK')
  other.release()
  t.strictSame(await leaseIds(given, 5), [first])
})

t.test('a paused queue gives nothing until it is resumed', async (t) => {
  const given = await givenDatabase(t)
  const [, open] = await givenRuns(given.db, { queue: 'closed' }, { queue: 'open' })
  await given.others.query(`INSERT INTO reproq_queue_controls (queue_name, paused) VALUES ('closed', true)`)
  t.strictSame(await leaseIds(given, 5, ['closed', 'open']), [open])
  await given.others.query('UPDATE reproq_queue_controls SET paused = false')
  t.equal((await leaseIds(given, 5, ['closed', 'open'])).length, 1)
})

t.test('an entry whose run is not ready any more is dropped, counted as taken, and leases nothing', async (t) => {
  const given = await givenDatabase(t)
  const [id] = await givenRuns(given.db, {})
  // As after a bug or a restored table: the triggers would not let this happen.
  await given.others.query('BEGIN; SET LOCAL reproq.internal = on; UPDATE task_runs SET status = \'FAILED\'; COMMIT')
  t.match(await lease(given.db, ['default'], slots(1), 60_000), { taken: 1, gated: false, runs: [] })
  t.strictSame(await placesOf(given.others, id as string), [])
})

t.test('what is due is promoted, not more than asked for, and the next moment is known', async (t) => {
  const { db, others } = await givenDatabase(t)
  t.strictSame(await promote(db, 10), { queues: [], promoted: 0, more: false, nextMs: null })
  const ids = await givenRuns(db, { queue: 'a', runAfterMs: Date.now() + HOUR_MS }, { queue: 'b', runAfterMs: Date.now() + HOUR_MS }, { queue: 'c', runAfterMs: Date.now() + 2 * HOUR_MS })
  const before = await promote(db, 10)
  t.equal(before.promoted, 0)
  t.ok((before.nextMs as number) > HOUR_MS - 60_000 && (before.nextMs as number) <= HOUR_MS)

  await others.query(`UPDATE task_runs SET run_after = now() - interval '1 s' WHERE queue_name IN ('a', 'b')`)
  await others.query(`BEGIN; SET LOCAL reproq.internal = on; DELETE FROM reproq_ready; INSERT INTO reproq_scheduled SELECT run_after, result_id FROM task_runs WHERE queue_name IN ('a', 'b'); COMMIT`)
  const one = await promote(db, 1)
  t.match(one, { queues: ['a'], promoted: 1 })
  t.ok((one.nextMs as number) <= 0, 'more is due now')
  t.match(await promote(db, 1), { queues: ['b'], promoted: 1 })
  t.strictSame(await Promise.all(ids.map((id) => placesOf(others, id))), [['ready'], ['ready'], ['scheduled']])
  t.strictSame(await misplaced(others), [])
})

t.test('a release costs no attempt and leaves no trace of the worker', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const one = await givenLeased(db, session)
  t.match(await release(db, [{ run: one.run, lease: one.lease, delayMs: 0 }]), [{ run: one.run, status: 'READY', attempt: 0, delayMs: 0 }])
  t.match(await rowOf(others, one.run), { status: 'READY', attempts: 0, worker_ids: [], leased_by: null, leased_until: null, run_after: null })
  t.match(await refusals(db, [one]), [{ verdict: 'stale_lease' }], 'it settled nothing')
  const again = (await lease(db, ['of-w'], [{ sessionId: session.sessionId, workerId: 'x' }], 60_000)).runs[0]
  t.equal(again?.attempt, 1)
  t.strictSame((await rowOf(others, one.run)).worker_ids, ['x'])

  t.strictSame(await release(db, [{ run: one.run, lease: one.lease, delayMs: 0 }]), [], 'the old lease gives nothing back')
  t.equal(await statusOf(others, one.run), 'RUNNING')
  t.match(await release(db, [{ run: one.run, lease: again?.lease as string, delayMs: HOUR_MS }]), [{ status: 'READY', delayMs: HOUR_MS }])
  t.strictSame(await placesOf(others, one.run), ['scheduled'])
  t.strictSame(await misplaced(others), [])
})

t.test('only the lease that holds a run settles it', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const old = await givenLeased(db, session)
  await release(db, [{ run: old.run, lease: old.lease, delayMs: 0 }])
  const young = (await lease(db, ['of-w'], [session], 60_000)).runs[0] as typeof old

  t.strictSame(await finalize(db, [verdict(old)]), [])
  t.match(await rowOf(others, old.run), { status: 'RUNNING', errors_json: [] })
  t.match(await refusals(db, [old]), [{ verdict: 'stale_lease' }])

  t.match(await finalize(db, [verdict(young, { error: '{"kind": "first"}' })]), [{ run: old.run, lease: young.lease, status: 'FAILED', attempt: 1 }])
  t.strictSame(await finalize(db, [verdict(young, { error: '{"kind": "second"}' })]), [], 'and settles it once')
  t.strictSame((await succeed(db, [{ ...young, output: '1' }])).held, [false])
  const [row] = (await others.query('SELECT status, errors_json, leased_by, leased_until, finished_at IS NOT NULL AS finished FROM task_runs')).rows
  t.strictSame(row, { status: 'FAILED', errors_json: [{ kind: 'first' }], leased_by: null, leased_until: null, finished: true })
  const verdictOf = async (run: string, lease: string) => (await refusals(db, [{ run, lease }]))[0]?.verdict
  t.equal(await verdictOf(old.run, young.lease), 'duplicate')
  t.equal(await verdictOf(old.run, old.lease), 'already_final')
  t.equal(await verdictOf('999', old.lease), 'stale_lease')
  t.strictSame(await misplaced(others), [])
})

t.test('a lease settles its own run alone, also beside that of the other', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const [one, other] = [await givenLeased(db, session), await givenLeased(db, session)]
  const swapped = [{ run: one.run, lease: other.lease }, { run: other.run, lease: one.lease }]
  t.strictSame(await succeed(db, swapped.map((item) => ({ ...item, output: '1' }))), { held: [false, false], keyed: false })
  t.strictSame(await finalize(db, swapped.map((item) => verdict(one, item))), [])
  t.strictSame(await release(db, swapped.map((item) => ({ ...item, delayMs: 0 }))), [])
  for (const { run } of [one, other]) t.match(await rowOf(others, run), { status: 'RUNNING', return_json: null })
  t.strictSame((await succeed(db, [{ ...other, output: '"other"' }, { ...one, output: '"one"' }])).held, [true, true])
  t.match([await rowOf(others, one.run), await rowOf(others, other.run)], [{ return_json: 'one' }, { return_json: 'other' }])
  t.strictSame(await misplaced(others), [])
})

t.test('success has the same fence, and keeps the output to the digit', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const old = await givenLeased(db, session)
  const before = await rowOf(others, old.run)
  await release(db, [{ ...old, delayMs: 0 }])
  const young = (await lease(db, ['of-w'], [session], 60_000)).runs[0] as typeof old
  t.strictSame((await succeed(db, [{ ...old, output: '"stale"' }])).held, [false])
  t.match(await rowOf(others, old.run), { status: 'RUNNING', return_json: null })
  t.strictSame((await succeed(db, [{ ...young, output: '1.0' }, { ...young, output: '"again"' }, { ...old, output: '1' }])).held, [true, false, false])
  t.strictSame((await succeed(db, [{ ...young, output: '2' }])).held, [false])
  t.strictSame(await finalize(db, [verdict(young)]), [])

  t.strictSame((await others.query('SELECT return_json::text AS output FROM task_runs')).rows, [{ output: '1.0' }])
  const row = await rowOf(others, young.run)
  t.match(row, { status: 'SUCCESSFUL', errors_json: [], last_error: null, failed_at: null, leased_by: null, leased_until: null, finished_at: Date, reproq_lease_id: young.lease, attempts: 1 })
  t.strictSame(row.run_after, before.run_after)
  t.match(await refusals(db, [young]), [{ verdict: 'duplicate' }])
  t.strictSame(await misplaced(others), [])
})

t.test('a lease that ended in a retry is a duplicate while the run waits, and stale once another has it', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const first = await givenLeased(db, session)
  const retry = verdict(first, { status: 'READY', error: '{"kind": "app_error"}' })
  t.match(await finalize(db, [retry]), [{ status: 'READY', delayMs: 0 }])
  t.match(await rowOf(others, first.run), { status: 'READY', attempts: 1, errors_json: [{ kind: 'app_error' }], finished_at: null, return_json: null })
  t.match(await refusals(db, [first]), [{ verdict: 'duplicate' }])

  const second = (await lease(db, ['of-w'], [session], 60_000)).runs[0] as typeof first
  t.equal(second.attempt, 2)
  t.match(await refusals(db, [first]), [{ verdict: 'stale_lease' }])
  t.match(await finalize(db, [verdict(second, { status: 'READY', delayMs: HOUR_MS })]), [{ status: 'READY' }])
  t.strictSame(await placesOf(others, first.run), ['scheduled'])
  t.strictSame(await misplaced(others), [])
})

t.test('each status is written as its readers expect it', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const [failed, cancelled, wished] = [await givenLeased(db, session), await givenLeased(db, session), await givenLeased(db, session)]
  await cancel(db, [wished.run])
  const settled = await finalize(db, [
    verdict(failed, { status: 'FAILED', error: '{"kind": "timeout"}', lastError: 'late' }),
    verdict(cancelled, { status: 'CANCELLED', error: '{"kind": "cancelled"}', lastError: 'x' }),
    verdict(wished, { status: 'READY', error: '{"kind": "app_error"}' }),
  ])
  t.equal(settled.length, 3)
  t.match(await rowOf(others, failed.run), { status: 'FAILED', last_error: 'late', failed_at: Date, finished_at: Date, errors_json: [{ kind: 'timeout' }] })
  t.match(await rowOf(others, cancelled.run), { status: 'CANCELLED', failed_at: null, finished_at: Date })
  t.match(await rowOf(others, wished.run), { status: 'CANCELLED', finished_at: Date }, 'a run that somebody wants stopped is not tried again')
  t.strictSame(await misplaced(others), [])
})

t.test('cancel ends what waits, asks what runs, leaves what is over, and says which', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db, 'w')
  const [ready, scheduled] = await givenRuns(db, {}, { runAfterMs: Date.now() + HOUR_MS }) as [string, string]
  const waiting = await givenForeignRun(others, { status: 'WAITING' })
  const running = (await givenLeased(db, session)).run
  const done = await givenLeased(db, session)
  await succeed(db, [{ ...done, output: '1' }])

  const rows = await cancel(db, [ready, scheduled, waiting, running, done.run, '424242'])
  t.strictSame(rows.map(({ run, was, status }) => [run, was, status]).toSorted(), [
    [ready, 'READY', 'CANCELLED'], [scheduled, 'READY', 'CANCELLED'], [waiting, 'WAITING', 'CANCELLED'], [running, 'RUNNING', 'RUNNING'], [done.run, 'SUCCESSFUL', 'SUCCESSFUL'],
  ].toSorted())
  t.match(await rowOf(others, ready), { status: 'CANCELLED', finished_at: Date, cancel_requested: true })
  t.match(await rowOf(others, running), { status: 'RUNNING', finished_at: null, cancel_requested: true })
  t.match(await rowOf(others, done.run), { status: 'SUCCESSFUL', cancel_requested: false })
  t.strictSame(await misplaced(others), [])

  const given = await lease(db, ['default'], [session], 60_000)
  t.strictSame(given.runs, [], 'what was cancelled is not leased')
})

t.test('a released run that somebody wants stopped is over', async (t) => {
  const { db, others } = await givenDatabase(t)
  const leased = await givenLeased(db, await givenSession(db, 'w'))
  await cancel(db, [leased.run])
  t.match(await release(db, [{ ...leased, delayMs: 0 }]), [{ status: 'CANCELLED' }])
  t.match(await rowOf(others, leased.run), { status: 'CANCELLED', finished_at: Date, attempts: 0 })
  t.strictSame(await misplaced(others), [])
})

t.test('runs past their limit, or that somebody wants stopped, are found among the sessions asked about', async (t) => {
  const { db, others } = await givenDatabase(t)
  const [mine, other] = [await givenSession(db, 'w'), await givenSession(db, 'x')]
  const [late, fine, wished, foreign] = [await givenLeased(db, mine, { timeoutSeconds: 10 }), await givenLeased(db, mine), await givenLeased(db, mine), await givenLeased(db, other, { timeoutSeconds: 10 })]
  await cancel(db, [wished.run])
  await others.query(`UPDATE task_runs SET last_attempted_at = now() - interval '14 s'`)
  t.strictSame((await overdue(db, [mine.sessionId], 5_000)).map(({ run }) => run), [wished.run], 'the slack is given')
  await others.query(`UPDATE task_runs SET last_attempted_at = now() - interval '16 s'`)
  t.strictSame((await overdue(db, [mine.sessionId], 5_000)).map(({ run }) => run).toSorted(), [late.run, wished.run])
  t.ok(fine && foreign)
})

t.test('leased_until of a living session is kept ahead; that of a dead one is not', async (t) => {
  const { db, others } = await givenDatabase(t)
  const [alive, dead] = [await givenLeased(db, await givenSession(db, 'w')), await givenLeased(db, await givenSession(db, 'x'))]
  await others.query(`UPDATE reproq_sessions SET expires_at = now() - interval '1 s' WHERE worker_id = 'x'`)
  await others.query(`UPDATE task_runs SET leased_until = now() + interval '1 s'`)
  await extendLeases(db, 60_000)
  const left = async (run: string) => ((await rowOf(others, run)).leased_until as Date).getTime() - Date.now()
  t.ok((await left(alive.run)) > 30_000)
  t.ok((await left(dead.run)) < 2_000)
})
