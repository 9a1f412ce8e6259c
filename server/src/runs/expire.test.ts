import t from 'tap'
import { controlFor, givenDatabase, givenForeignRun, givenLeased, givenRuns, givenSession, misplaced, placesOf, rowOf, type Given } from '../../../test/helpers/given.js'
import { reap } from '../sessions/sessions.js'
import { expire } from './expire.js'
import { finalize } from './finalize.js'
import { lease, leaseGated } from './lease.js'
import { promote } from './promote.js'
import { release } from './release.js'

const HOUR_MS = 3_600_000
const expiring = (inMs: number, more = {}) => ({ control: controlFor({ expiresInMs: inMs, ...more }) })

/** As if they had been made earlier: where they are, with their entries. */
async function late({ others }: Given, ids: (string | undefined)[]) {
  const us = await others.connect()
  await us.query("SET reproq.internal = 'on'")
  await us.query('DELETE FROM reproq_expiring WHERE result_id = ANY ($1)', [ids])
  await us.query("UPDATE task_runs SET expires_at = now() - interval '1 s' WHERE result_id = ANY ($1)", [ids])
  await us.query('INSERT INTO reproq_expiring SELECT expires_at, result_id FROM task_runs WHERE result_id = ANY ($1) ON CONFLICT DO NOTHING', [ids])
  us.release(true)
}
const ended = async (db: Given['db']) => (await expire(db)).runs.map(({ run }) => run)
const count = async ({ others }: Given) => Number((await others.query('SELECT count(*) FROM reproq_expiring')).rows[0].count)

t.test('what waits, anywhere, is cancelled when it expires, and says both moments', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  await givenLeased(db, session, { queue: 'other' })
  const holder = await givenRuns(db, expiring(HOUR_MS, { lockKey: 'l' }))
  await leaseGated(db, ['default'], [session], 60_000)
  const blocked = await givenRuns(db, expiring(HOUR_MS, { lockKey: 'l' }))
  await leaseGated(db, ['default'], [session], 60_000)
  const ids = [...blocked, ...(await givenRuns(db, expiring(HOUR_MS), { runAfterMs: Date.now() + 60_000, ...expiring(HOUR_MS) }))]
  t.strictSame(await Promise.all(ids.map((id) => placesOf(others, id))), [['blocked'], ['ready'], ['scheduled']])
  const waiting = await givenForeignRun(others, { status: 'WAITING', expires_at: new Date(Date.now() + HOUR_MS) })
  t.strictSame(await misplaced(others), [])
  t.strictSame(await ended(db), [])

  await late(given, [...holder, ...ids, waiting])
  const { runs, nextMs } = await expire(db)
  t.strictSame(runs.map(({ run }) => run).toSorted(), [...ids, waiting].toSorted(), 'all but the one that runs')
  t.equal(nextMs === null || nextMs > HOUR_MS / 2, true)
  for (const id of [...ids, waiting]) {
    const row = await rowOf(others, id)
    t.match(row, { status: 'CANCELLED', finished_at: Date, last_error: /^expired: Not started before/, errors_json: [{ kind: 'expired', message: /before it expired at \d{4}-.*Z; now it is \d{4}-.*Z$/ }] })
    t.strictSame(await placesOf(others, id), [])
  }
  t.match(await rowOf(others, holder[0] as string), { status: 'RUNNING' })
  t.strictSame(await misplaced(others), [])
})

t.test('a lease refuses what has expired, also when nobody has ended it yet', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const [tooLate, inTime] = await givenRuns(given.db, expiring(HOUR_MS), expiring(HOUR_MS))
  await late(given, [tooLate])
  t.match(await lease(given.db, ['default'], [session, session], 60_000), { taken: 0, gated: true })
  const { runs, expired } = await leaseGated(given.db, ['default'], [session, session], 60_000)
  t.match([runs, expired], [[{ run: inTime }], [{ run: tooLate }]])
  t.match(await rowOf(given.others, tooLate as string), { status: 'CANCELLED', errors_json: [{ kind: 'expired', message: /expired at .*; now it is/ }] })
  t.strictSame(await ended(given.db), [])
  t.equal(await count(given), 1, 'its entry is worked off too')
})

t.test('a run that started in time runs on; it is not started again when it is too late', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const ids = await givenRuns(db, expiring(HOUR_MS), expiring(HOUR_MS), expiring(HOUR_MS))
  const { runs } = await leaseGated(db, ['default'], [session, session, session], 60_000)
  await late(given, ids)
  t.strictSame(await ended(db), [])
  t.equal(await count(given), 0, 'forgotten, until it waits again')
  const [one, two, three] = runs as [(typeof runs)[0], (typeof runs)[0], (typeof runs)[0]]
  await release(db, [{ ...one, delayMs: 0 }])
  await finalize(db, [{ ...two, status: 'READY', error: '{"kind":"app_error"}', lastError: null, delayMs: 1_000 }])
  t.equal((await expire(db)).runs.length, 2, 'given back, and due for another attempt')
  await others.query("UPDATE reproq_sessions SET expires_at = now() - interval '1 s'")
  await reap(db, 0)
  t.match(await expire(db), { runs: [{ run: three.run }] }, 'its worker was lost')
  t.match(await rowOf(others, two.run), { status: 'CANCELLED', errors_json: [{ kind: 'app_error' }, { kind: 'expired' }] })
  t.strictSame(await misplaced(others), [])
})

t.test('an expiry that others write, move or take away counts', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const at = (ms: number) => new Date(Date.now() + ms)
  const [moved, dropped, made] = [await givenForeignRun(others, { expires_at: at(-1_000) }), await givenForeignRun(others, { expires_at: at(-1_000) }), await givenForeignRun(others, {})]
  await givenForeignRun(others, { expires_at: 'infinity' })
  await others.query("UPDATE task_runs SET expires_at = now() + interval '1 h' WHERE result_id = $1", [moved])
  await others.query('UPDATE task_runs SET expires_at = NULL WHERE result_id = $1', [dropped])
  t.strictSame(await ended(db), [])
  t.strictSame(await misplaced(others), [])
  await others.query("UPDATE task_runs SET expires_at = now() - interval '1 s' WHERE result_id = $1", [made])
  t.match(await expire(db), { runs: [{ run: made }] })
  await others.query('DELETE FROM task_runs')
  await others.query("UPDATE reproq_expiring SET expires_at = now()")
  t.strictSame(await expire(db), { runs: [], more: false, nextMs: null })
  t.equal(await count(given), 0)
})

t.test('more than fit into one statement are ended by several, and a run that somebody holds is left for the next time', async (t) => {
  const given = await givenDatabase(t)
  const ids = await givenRuns(given.db, ...Array.from({ length: 5 }, () => expiring(HOUR_MS)))
  await late(given, ids)
  const other = await given.others.connect()
  await other.query('BEGIN')
  await other.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [ids[0]])
  t.match([await expire(given.db, 2), await expire(given.db, 2), await expire(given.db, 2)].map(({ runs, more }) => [runs.length, more]), [[1, true], [1, true], [1, true]])
  t.match(await expire(given.db, 2), { more: true })
  t.strictSame(await expire(given.db, 1), { runs: [], more: false, nextMs: null }, 'nothing to hurry for')
  await other.query('ROLLBACK')
  other.release()
  t.match(await expire(given.db), { runs: [{ run: ids[0] }] })
})

t.test('while a run that has expired is held, those that will expire are told all the same, if they come first', async (t) => {
  const given = await givenDatabase(t)
  await late(given, await givenRuns(given.db, expiring(HOUR_MS)))
  const listener = await given.others.connect()
  t.teardown(() => listener.release(true))
  let told = 0
  listener.on('notification', () => told++)
  await listener.query('LISTEN reproq_expiring')
  const after = async (ms: number) => {
    await givenRuns(given.db, expiring(ms))
    // An answer comes after what was told before it.
    await listener.query('SELECT')
    return told
  }
  t.strictSame([await after(HOUR_MS / 2), await after(HOUR_MS), await after(HOUR_MS / 4)], [1, 1, 2])
})

t.test('whoever leases, promotes and ends at once: nothing starts too late, everything ends', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const until = performance.now() + 2_500
  let made = 0
  const producer = async (seed: number) => {
    for (let round = seed; performance.now() < until; round++) {
      const runs = Array.from({ length: 10 }, (_, at) => ({ ...expiring(1 + ((round * 13 + at * 37) % 120), at % 3 === 0 ? { lockKey: `l${at}` } : {}), ...(at % 4 === 0 && { runAfterMs: Date.now() + 20 }) }))
      const { length } = await givenRuns(db, ...runs)
      made += length
    }
  }
  const taker = async () => {
    while (performance.now() < until) {
      const { runs } = await leaseGated(db, ['default'], Array.from({ length: 5 }, () => session), 60_000)
      await finalize(db, runs.map((run) => ({ ...run, status: 'FAILED' as const, error: null, lastError: null, delayMs: 0 })))
    }
  }
  const chores = async () => {
    while (performance.now() < until) await Promise.all([expire(db), promote(db)])
  }
  await Promise.all([producer(0), producer(5), taker(), taker(), chores(), chores()])
  const deadline = performance.now() + 5_000
  while ((await expire(db)).nextMs !== null || (await count(given)) > 0) if (performance.now() > deadline) throw new Error('some never expire')
  // An entry that was made ready behind the back of its end goes with the lease that meets it.
  await promote(db)
  await leaseGated(db, ['default'], [session], 60_000)

  const { rows } = await others.query<{ status: string; runs: number; late: number; wrong: number }>(`
    SELECT status, count(*)::int AS runs, count(*) FILTER (WHERE started_at >= expires_at)::int AS late,
           count(*) FILTER (WHERE (status = 'CANCELLED') <> (errors_json @> '[{"kind": "expired"}]'))::int AS wrong
      FROM task_runs GROUP BY status ORDER BY status`)
  t.strictSame(rows.map(({ status, late: tooLate, wrong }) => [status, tooLate, wrong]), [['CANCELLED', 0, 0], ['FAILED', 0, 0]])
  t.equal(rows.reduce((sum, row) => sum + row.runs, 0), made)
  t.comment(`${rows.map(({ status, runs }) => `${runs} ${status}`).join(', ')}; 0 started too late`)
  t.strictSame(await misplaced(others), [])
})
