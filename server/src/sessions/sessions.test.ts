import t from 'tap'
import { givenDatabase, givenLeased, givenRuns, givenSession, misplaced, placesOf, rowOf, statusOf, type Given } from '../../../test/helpers/given.js'
import { cancel } from '../runs/cancel.js'
import { finalize, refusals } from '../runs/finalize.js'
import { lease } from '../runs/lease.js'
import { release } from '../runs/release.js'
import { Events } from '../events.js'
import { loadConfig } from '../config.js'
import { endExpiredSessions } from '../engine/expiry.js'
import { until } from '../../../test/helpers/wait.js'
import { close, open, reap, reconcile, renew, resume, shorten, stray } from './sessions.js'

const expire = ({ others }: Given, workerId: string) => others.query(`UPDATE reproq_sessions SET expires_at = now() - interval '1 s' WHERE worker_id = $1`, [workerId])
const leftMs = async ({ others }: Given) => {
  const { rows } = await others.query<{ left: number }>('SELECT extract(epoch FROM expires_at - now())::float8 * 1000 AS left FROM reproq_sessions')
  return rows[0]?.left ?? Number.NaN
}
const workers = async ({ others }: Given) => (await others.query<{ worker_id: string }>('SELECT worker_id FROM reproq_workers ORDER BY 1')).rows.map((row) => row.worker_id)

t.test('a session is resumed by its key and its worker only, and each resume has a higher number', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'w')
  t.equal(session.conn, 1)
  const again = (key: string, worker = 'w', id = session.sessionId) => resume(given.db, id, key, worker, 'broker-2', 60_000)
  t.equal(await again('wrong'), undefined)
  t.equal(await again(session.key, 'x'), undefined)
  t.equal(await again(session.key, 'w', '999'), undefined)
  for (const id of ['', 'abc', '1; DROP TABLE task_runs', '9'.repeat(30)]) t.equal(await again(session.key, 'w', id), undefined, `"${id}"`)
  t.strictSame(await again(session.key), { sessionId: session.sessionId, workerId: 'w', conn: 2 })
  t.equal((await again(session.key))?.conn, 3)
})

t.test('only the newest connection renews, shortens and closes a session', async (t) => {
  const given = await givenDatabase(t)
  const old = await givenSession(given.db, 'w', 5_000)
  const young = await resume(given.db, old.sessionId, old.key, 'w', 'broker', 5_000)
  t.strictSame(await renew(given.db, [old], 60_000), new Set())
  await shorten(given.db, old, 1)
  await close(given.db, old)
  const left = await leftMs(given)
  t.ok(left > 2_000 && left <= 5_000, 'the old one changed nothing')
  t.strictSame(await renew(given.db, [young as typeof old, { sessionId: '99', conn: 1 }], 60_000), new Set([old.sessionId]))
  t.ok((await leftMs(given)) > 30_000)
})

t.test('a dropped socket shortens what the session has left, and never lengthens it', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'w', 60_000)
  await shorten(given.db, session, 15_000)
  t.ok((await leftMs(given)) <= 15_000)
  await shorten(given.db, session, 60_000)
  t.ok((await leftMs(given)) <= 15_000)
})

t.test('goodbye takes the session and its worker away', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'w')
  t.strictSame(await workers(given), ['w'])
  await close(given.db, session)
  t.strictSame((await given.others.query('SELECT * FROM reproq_sessions')).rows, [])
  t.strictSame(await workers(given), [])
})

t.test('a worker that is back under a new session stays listed when the old one ends', async (t) => {
  const given = await givenDatabase(t)
  const [left, reaped, living] = [await givenSession(given.db, 'w'), await givenSession(given.db, 'w', 0), await givenSession(given.db, 'w')]
  await close(given.db, left)
  t.strictSame(await workers(given), ['w'])
  t.equal((await reap(given.db)).length, 1)
  t.strictSame(await workers(given), ['w'])
  t.ok(reaped)
  await close(given.db, living)
  t.strictSame(await workers(given), [])
})

t.test('what an expired session held is ready again, its attempt counted and explained', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const [dead, alive] = [await givenSession(db, 'dead'), await givenSession(db, 'alive')]
  const [lost, kept] = [await givenLeased(db, dead), await givenLeased(db, alive)]
  t.strictSame(await reap(db), [], 'nobody has expired')
  await expire(given, 'dead')

  t.match(await reap(db), [{ sessionId: dead.sessionId, workerId: 'dead', run: lost.run, status: 'READY', queue: 'of-dead', attempt: 1 }])
  t.match(await rowOf(others, lost.run), { status: 'READY', attempts: 1, leased_by: null, leased_until: null, finished_at: null, worker_ids: ['dead'], errors_json: [{ kind: 'lease_expiry', attempt: 1, worker_id: 'dead' }] })
  t.equal(await statusOf(others, kept.run), 'RUNNING')
  t.strictSame(await workers(given), ['alive'])
  t.strictSame(await misplaced(others), [])
  t.strictSame(await finalize(db, [{ run: lost.run, lease: lost.lease, status: 'CANCELLED', error: null, lastError: null, delayMs: 0 }]), [], 'its lease proves nothing any more')
  t.match(await refusals(db, [lost]), [{ verdict: 'stale_lease' }])
  t.match(await reconcile(db, alive.sessionId, [lost]), [{ verdict: 'lost' }], 'also before somebody else has the run')
  t.strictSame(await reap(db), [], 'and it is done once')
})

t.test('after the last attempt an expired lease fails the run, and a cancel ends it', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'dead')
  const [last, wished] = [await givenLeased(given.db, session, { maxAttempts: 1 }), await givenLeased(given.db, session, { maxAttempts: 1 })]
  await cancel(given.db, [wished.run])
  await expire(given, 'dead')
  t.strictSame((await reap(given.db)).map(({ run, status }) => [run, status]).toSorted(), [[last.run, 'FAILED'], [wished.run, 'CANCELLED']].toSorted())
  t.match(await rowOf(given.others, last.run), { finished_at: Date, failed_at: Date, last_error: /^lease_expiry/ })
  t.match(await rowOf(given.others, wished.run), { finished_at: Date, failed_at: null })
  t.strictSame(await misplaced(given.others), [])
})

t.test('leases of a session that is gone are settled too', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'w')
  const orphan = await givenLeased(given.db, session)
  await given.others.query('DELETE FROM reproq_sessions')
  t.match(await reap(given.db), [{ run: orphan.run, status: 'READY' }])
  t.strictSame(await misplaced(given.others), [])
})

t.test('an expired session without leases is reported once', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'w', 0)
  t.match(await reap(given.db), [{ sessionId: session.sessionId, workerId: 'w', run: null }])
  t.strictSame(await reap(given.db), [])
})

t.test('reapers at work at the same time settle each run once', async (t) => {
  const given = await givenDatabase(t)
  const runs: string[] = []
  for (let i = 0; i < 10; i++) runs.push((await givenLeased(given.db, await givenSession(given.db, `w${i}`))).run)
  await given.others.query(`UPDATE reproq_sessions SET expires_at = now() - interval '1 s'`)
  const reaped = (await Promise.all(Array.from({ length: 6 }, () => reap(given.db)))).flat().flatMap(({ run }) => run ?? [])
  t.strictSame(reaped.toSorted(), runs.toSorted())
  t.strictSame(await misplaced(given.others), [])
})

t.test('amnesty: a broker that has not reached the database for long enough does not reap', async (t) => {
  const given = await givenDatabase(t)
  const lost = await givenLeased(given.db, await givenSession(given.db, 'w'))
  await expire(given, 'w')
  const events = new Events()
  const seen: unknown[] = []
  events.on('run.settled', (event) => seen.push(event))
  events.on('session.lost', (event) => seen.push(event))
  const reapWhenHealthyFor = (healthyMs: number) =>
    endExpiredSessions({ config: loadConfig({ reconnectMs: 15_000 }, {}), events, pool: { healthyMs, query: given.db.query.bind(given.db) } as unknown as typeof given.db })

  await reapWhenHealthyFor(0)
  await reapWhenHealthyFor(14_999)
  t.equal(await statusOf(given.others, lost.run), 'RUNNING')
  t.strictSame(seen, [])
  await reapWhenHealthyFor(15_000)
  t.equal(await statusOf(given.others, lost.run), 'READY')
  t.match(seen, [{ runId: lost.run, status: 'READY', cause: 'lease_expiry' }, { workerId: 'w' }])
})

t.test('each lease a worker says it holds gets one true verdict, and the good ones come under its new session', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const old = await givenSession(db, 'w')
  const [kept, wished, settled, retried, released, reLeased] = [await givenLeased(db, old), await givenLeased(db, old), await givenLeased(db, old), await givenLeased(db, old), await givenLeased(db, old), await givenLeased(db, old)]
  await cancel(db, [wished.run])
  const none = { error: null, lastError: null, delayMs: 0 }
  await finalize(db, [{ ...settled, ...none, status: 'FAILED' }, { ...retried, ...none, status: 'READY', delayMs: 1e6 }])
  await release(db, [{ ...released, delayMs: 1e6 }, { ...reLeased, delayMs: 0 }])
  const other = await givenSession(db, 'x')
  await lease(db, ['of-w'], [other], 60_000)

  const session = await open(db, { workerId: 'w', host: null, concurrency: 1, queues: [], version: '' }, 'broker', 60_000)
  const held = [kept, wished, settled, retried, released, reLeased, { run: kept.run, lease: settled.lease }, kept, { run: '999', lease: kept.lease }]
  const rows = await reconcile(db, session.sessionId, held)
  const verdicts = held.map(({ run, lease: id }) => rows.filter((row) => row.run === run && row.lease === id).map(({ verdict }) => verdict))
  t.strictSame(verdicts, [['keep'], ['cancel'], ['finalized'], ['finalized'], ['lost'], ['lost'], ['lost'], ['keep'], ['lost']], 'also when it names an older lease of the run, or one twice')
  t.match(rows.find(({ run, lease: id }) => run === kept.run && id === kept.lease), { queue: 'of-w', task: 't.task', attempt: 1, maxAttempts: 3 })

  const { rows: leases } = await others.query('SELECT result_id::text AS run, session_id::text AS session FROM reproq_leases ORDER BY result_id')
  t.strictSame(leases, [{ run: kept.run, session: session.sessionId }, { run: wished.run, session: session.sessionId }, { run: reLeased.run, session: other.sessionId }])
  t.strictSame(await misplaced(others), [])
})

t.test('a lease that is being settled just then is finalized, not lost; one whose run is being changed is kept', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'w')
  const [settled, kept] = [await givenLeased(given.db, session), await givenLeased(given.db, session)]
  const settling = await given.others.connect()
  t.teardown(() => settling.release())
  await settling.query("BEGIN; SET LOCAL reproq.internal = 'on'")
  await settling.query("UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id = $1", [settled.run])
  await settling.query('UPDATE task_runs SET updated_at = now() WHERE result_id = $1', [kept.run])
  const reconciled = reconcile(given.db, session.sessionId, [settled, kept])
  await until('it waits for the row', async () => (await given.others.query('SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = $1', ['Lock'])).rowCount)
  await settling.query('COMMIT')
  const verdicts = new Map((await reconciled).map(({ run, verdict }) => [run, verdict]))
  t.strictSame([verdicts.get(settled.run), verdicts.get(kept.run)], ['finalized', 'keep'])
})

t.test('what a session holds and nobody knows of is found, by its lease', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'w')
  const [known, unknown, other] = [await givenLeased(given.db, session), await givenLeased(given.db, session), await givenLeased(given.db, await givenSession(given.db, 'x'))]
  t.strictSame(await stray(given.db, [session], [known.run]), [{ run: unknown.run, lease: unknown.lease }])
  t.ok(other)
  await givenRuns(given.db, {})
  t.strictSame(await stray(given.db, [], []), [])
  t.strictSame(await placesOf(given.others, unknown.run), ['leased'])
})

t.test('it is found among many, in whatever order the others are named', async (t) => {
  const given = await givenDatabase(t)
  const sessions = [await givenSession(given.db, 'a'), await givenSession(given.db, 'b'), await givenSession(given.db, 'c')]
  const leased = []
  // Past 9, where numbers and texts begin to differ in order.
  for (let count = 0; count < 12; count++) leased.push(await givenLeased(given.db, sessions[count % 3] as (typeof sessions)[0]))
  for (const unknown of leased) {
    const known = leased.filter((one) => one !== unknown).map(({ run }) => run)
    t.strictSame(await stray(given.db, sessions.toReversed(), known.toReversed()), [{ run: unknown.run, lease: unknown.lease }])
  }
  const superseded = sessions.map((session, index) => (index === 1 ? { ...session, conn: session.conn + 1 } : session))
  t.equal((await stray(given.db, superseded, [])).length, 8)
})

t.test('reaping says when to come again: at the next expiry, or after a pause when one had to be left', async (t) => {
  const given = await givenDatabase(t)
  const reapWhenHealthyFor = (healthyMs: number) =>
    endExpiredSessions({ config: loadConfig({ reconnectMs: 15_000, reapMs: 1_234 }, {}), events: new Events(), pool: { healthyMs, query: given.db.query.bind(given.db) } as unknown as typeof given.db })
  t.equal((await reapWhenHealthyFor(20_000)).nextMs, null, 'nobody is there')
  await givenSession(given.db, 'long', 60_000)
  await givenSession(given.db, 'short', 30_000)
  const { nextMs } = await reapWhenHealthyFor(20_000)
  t.ok(nextMs !== null && nextMs > 20_000 && nextMs <= 30_000, `${nextMs} ms`)
  await expire(given, 'short')
  t.equal((await reapWhenHealthyFor(1_000)).nextMs, 1_234, 'amnesty')
  t.equal((await reapWhenHealthyFor(0)).nextMs, 1_234, 'the database is away')
  const left = await reapWhenHealthyFor(20_000)
  t.ok(left.nextMs !== null && left.nextMs > 50_000, 'the expired one is gone')
})
