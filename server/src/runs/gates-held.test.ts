import type pg from 'pg'
import t, { type Test } from 'tap'
import { givenDatabase, givenForeignRun, givenRuns, givenSession, misplaced, placesOf, statusOf, type Given } from '../../../test/helpers/given.js'
import { until } from '../../../test/helpers/wait.js'
import { leaseGated } from './lease.js'
import { promote } from './promote.js'
import { succeed } from './succeed.js'
import { unblock } from './unblock.js'

/** Somebody's transaction that is open, with this done in it. */
async function holding(t: Test, { others }: Given, sql: string, params: unknown[] = []): Promise<pg.PoolClient> {
  const holder = await others.connect()
  t.teardown(() => holder.release(true))
  await holder.query('BEGIN')
  await holder.query(sql, params)
  return holder
}

let age = 1_000_000
const make = ({ others }: Given, columns: Record<string, unknown> = {}) => givenForeignRun(others, { enqueued_at: new Date(Date.now() - age--), ...columns })

for (const end of ['ROLLBACK', 'COMMIT']) {
  t.test(`a blocked run that somebody is changing keeps nobody waiting, and is asked again after ${end}`, async (t) => {
    const given = await givenDatabase(t)
    const { db, others } = given
    const session = await givenSession(db)
    const [, changed, next] = [await make(given, { lock_key: 'a' }), await make(given, { lock_key: 'a' }), await make(given, { lock_key: 'a' })]
    const [first] = (await leaseGated(db, ['default'], [session, session, session], 60_000)).runs
    const holder = await holding(t, given, `UPDATE task_runs SET status = 'CANCELLED' WHERE result_id = $1`, [changed])
    await succeed(db, [{ ...first!, output: '1' }])
    t.match(await unblock(db), { queues: ['default'], more: false })
    const elsewhere = await make(given, { lock_key: 'b', queue_name: 'elsewhere' })
    t.match(await leaseGated(db, ['elsewhere'], [session], 60_000), { runs: [{ run: elsewhere }] })
    const [second] = (await leaseGated(db, ['default'], [session], 60_000)).runs
    t.equal(second?.run, next, 'the room is not kept for it')
    await succeed(db, [{ ...second!, output: '1' }])
    const { nextMs } = await unblock(db)
    t.ok(nextMs !== null && nextMs > 0 && nextMs <= 100, `only it waits: asked again in ${nextMs} ms, and not at once`)
    await holder.query(end)
    await until('nothing is left to be asked', async () => (await unblock(db)).nextMs === null)
    t.strictSame(await placesOf(others, changed), end === 'COMMIT' ? [] : ['ready'])
    t.strictSame(await misplaced(others), [])
  })
}

t.test('a run held at a rate that has tokens comes in a moment, not with the next token', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  await others.query(`INSERT INTO rate_limits VALUES ('key:k', 0.0001, 1, 0)`)
  const run = await make(given, { reproq_rate_key: 'k' })
  await leaseGated(db, ['default'], [session], 60_000)
  t.strictSame(await placesOf(others, run), ['blocked'])
  const holder = await holding(t, given, `UPDATE task_runs SET priority = 3 WHERE result_id = $1`, [run])
  await others.query(`UPDATE rate_limits SET burst_size = 5, current_tokens = 5 WHERE key = 'key:k'`)
  const { nextMs } = await unblock(db)
  t.ok(nextMs !== null && nextMs <= 100, `${nextMs} ms`)
  await holder.query('ROLLBACK')
  await until('it is let through', async () => (await unblock(db)).queues.length > 0)
})

t.test('an ordinary run that somebody holds is passed over at the gate', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const [held, gated, plain] = [await make(given), await make(given, { lock_key: 'a' }), await make(given)]
  const holder = await holding(t, given, 'SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [held])
  t.match(await leaseGated(db, ['default'], [session, session, session], 60_000), { skipped: 1, more: false, runs: [{ run: gated }, { run: plain }] })
  await holder.query('ROLLBACK')
  t.match(await leaseGated(db, ['default'], [session], 60_000), { skipped: 0, gated: false, runs: [{ run: held }] })
  t.strictSame(await misplaced(others), [])
})

t.test('what stands behind many held runs is reached, and up to a limit only', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  await others.query(`INSERT INTO task_runs (spec_json, spec_hash, task_path, lock_key, enqueued_at) SELECT '{}', g::text, 't', 'k' || g, now() - interval '1 h' FROM generate_series(1, 300) g`)
  const holder = await holding(t, given, 'SELECT FROM task_runs FOR UPDATE')
  const behind = await make(given, { lock_key: 'z' })
  const short = await leaseGated(db, ['default'], [session], 60_000, 10)
  t.match(short, { more: false, runs: { length: 0 } }, 'not asked again at once')
  t.ok(short.skipped < 200, `${short.skipped} were looked at`)
  t.match(await leaseGated(db, ['default'], [session, session], 60_000, 100), { skipped: 300, more: false, runs: [{ run: behind }] })
  await holder.query('ROLLBACK')
  t.match(await leaseGated(db, ['default'], [session], 60_000, 100), { skipped: 0, more: true, runs: { length: 1 } })
})

t.test('a queue whose row somebody holds when its hold ends keeps nothing scheduled from becoming ready, and goes on itself', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  await others.query(`INSERT INTO reproq_queue_controls (queue_name, reproq_held_until) VALUES ('mail', now() - interval '1 s')`)
  const [run] = await givenRuns(db, { runAfterMs: Date.now() + 60_000 })
  await others.query(`UPDATE task_runs SET run_after = now() - interval '1 s' WHERE result_id = $1`, [run])
  await others.query(`INSERT INTO reproq_scheduled SELECT now() - interval '1 s', result_id FROM reproq_ready; DELETE FROM reproq_ready`)
  const holder = await holding(t, given, `UPDATE reproq_queue_controls SET paused = true WHERE queue_name = 'mail'`)
  const { queues, nextMs } = await promote(db)
  t.strictSame([queues.toSorted(), nextMs], [['default', 'mail'], 1_000])
  t.strictSame([await statusOf(others, run!), await placesOf(others, run!)], ['READY', ['ready']])
  await holder.query('ROLLBACK')
  t.match(await promote(db), { queues: ['mail'], nextMs: null })
  t.match(await promote(db), { queues: [], nextMs: null }, 'let go, and not again')
})
