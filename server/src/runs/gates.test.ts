import type pg from 'pg'
import t from 'tap'
import { givenDatabase, givenForeignRun, givenSession, misplaced, placesOf, rowOf, statusOf, type Given } from '../../../test/helpers/given.js'
import type { Pool } from '../db/pool.js'
import type { Session } from '../sessions/sessions.js'
import { cancel } from './cancel.js'
import { finalize } from './finalize.js'
import { lease, leaseGated, type Leased } from './lease.js'
import { releaseStaleHolds } from './holds.js'
import { release } from './release.js'
import { succeed } from './succeed.js'
import { unblock } from './unblock.js'

/** Runs are older the earlier they were made, whatever the clock's resolution. */
let age = 1_000_000

/** A READY run with these columns. */
function make({ others }: Given, columns: Record<string, unknown> = {}): Promise<string> {
  return givenForeignRun(others, { enqueued_at: new Date(Date.now() - age--), ...columns })
}

async function take(db: Pool, session: Session, most = 10, queues = ['default']): Promise<Leased[]> {
  const { runs } = await leaseGated(db, queues, Array.from({ length: most }, () => session), 60_000)
  return runs
}

async function blockedBy(others: pg.Pool, id: string): Promise<string | undefined> {
  const { rows } = await others.query<{ key: string }>('SELECT key FROM reproq_blocked WHERE result_id = $1', [id])
  return rows[0]?.key
}

const ids = (runs: Leased[]) => runs.map(({ run }) => run)
const end = (db: Pool, leased: Leased | undefined) => succeed(db, [{ ...(leased as Leased), output: '1' }])

t.test('the fast lease leaves everything where one must be asked for, and says so', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const [plain, locked] = [await make(given), await make(given, { lock_key: 'a' })]
  t.strictSame(await lease(db, ['default'], [session, session], 60_000), { taken: 0, reached: new Map(), gated: true, runs: [] })
  t.match(await lease(db, ['default'], [session], 60_000), { taken: 1, gated: false, runs: [{ run: plain }] }, 'one that the batch does not reach is in nobody’s way')
  const turn = await leaseGated(db, ['default'], [session, session], 60_000)
  t.match(turn, { gated: true, more: false, freed: false, nextMs: null, woken: [], expired: [], runs: [{ run: locked, attempt: 1, slot: 0 }] })
  t.match(await leaseGated(db, ['default'], [session], 60_000), { gated: false, runs: [] }, 'nothing to be asked for any more')
  t.strictSame(await misplaced(others), [])
})

t.test('of runs with one lock key, one runs at a time, in the order of its queue, in any queue; the others stand in nobody’s way', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const first = await make(given, { lock_key: 'a' })
  const second = await make(given, { lock_key: 'a', queue_name: 'other' })
  const third = await make(given, { lock_key: 'a' })
  const free = await make(given, { lock_key: 'b' })
  const empty = [await make(given, { lock_key: '' }), await make(given, { lock_key: '' })]
  const plain = await make(given)
  const queues = ['default', 'other']

  const runs = await take(db, session, 10, queues)
  t.strictSame(ids(runs), [first, free, empty[0], plain], 'an empty lock key is one')
  t.strictSame(await placesOf(others, third), ['blocked'])
  t.equal(await blockedBy(others, second), 'lock:a')
  t.strictSame(await unblock(db), { queues: [], more: false, nextMs: null })

  t.match(await end(db, runs[0]), { held: [true], keyed: true })
  t.match(await end(db, runs[3]), { held: [true], keyed: false })
  t.strictSame((await unblock(db)).queues.toSorted(), queues, 'the best of each queue may try')
  const next = await take(db, session, 10, queues)
  t.strictSame(ids(next), [third], 'it is the turn of its queue')
  await end(db, next[0])
  t.strictSame(ids(await take(db, session, 10, queues)), [second], 'a lease lets through what has room, also without an unblock before')
  t.strictSame(await misplaced(others), [])
})

t.test('a concurrency key lets each run start while fewer than its own limit run', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const three = { concurrency_key: 'k', concurrency_limit: 3 }
  const [a, b] = [await make(given, three), await make(given, three)]
  const narrow = await make(given, { concurrency_key: 'k', concurrency_limit: 1 })
  const [c, d] = [await make(given, three), await make(given, three)]
  const unlimited = [await make(given, { concurrency_key: '', concurrency_limit: 1 }), await make(given, { concurrency_key: '', concurrency_limit: 1 }), await make(given, { concurrency_key: 'k' })]
  const runs = await take(db, session)
  t.strictSame(ids(runs), [a, b, c, ...unlimited])
  await end(db, runs[0])
  t.strictSame(ids(await take(db, session)), [d], 'the one with the smaller limit keeps no others waiting')
  for (const run of runs.slice(1, 3)) await end(db, run)
  t.strictSame(ids(await take(db, session)), [], 'one still runs')
  t.equal(await blockedBy(others, narrow), 'concurrency:k')
  t.strictSame(await misplaced(others), [])
})

t.test('who comes later does not take the room of those who wait', async (t) => {
  const given = await givenDatabase(t)
  const { db } = given
  const session = await givenSession(db)
  const [, waits] = [await make(given, { lock_key: 'a' }), await make(given, { lock_key: 'a' })]
  const [runs] = [await take(db, session)]
  await end(db, runs[0])
  await make(given, { lock_key: 'a' })
  t.strictSame(ids(await take(db, session)), [waits])
})

t.test('the head of a paused queue keeps the room from nobody, and goes on when the queue does', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const queues = ['default', 'paused']
  await make(given, { lock_key: 'a' })
  const inPaused = await make(given, { lock_key: 'a', queue_name: 'paused' })
  const behind = await make(given, { lock_key: 'a' })
  const [first] = await take(db, session, 10, queues)
  await others.query(`INSERT INTO reproq_queue_controls (queue_name, paused) VALUES ('paused', true)`)
  await end(db, first)
  await unblock(db)
  const [second] = await take(db, session, 10, queues)
  t.equal(second?.run, behind)
  await others.query(`UPDATE reproq_queue_controls SET paused = false`)
  t.strictSame(await take(db, session, 10, queues), [])
  await end(db, second)
  t.strictSame(ids(await take(db, session, 10, queues)), [inPaused])
})

t.test('a run that was let through and does not come leaves the room to the next', async (t) => {
  const ways: Record<string, (given: Given, run: string) => Promise<unknown>> = {
    'cancelled here': ({ db }, run) => cancel(db, [run]),
    'cancelled by Admin': ({ others }, run) => others.query(`UPDATE task_runs SET status = 'CANCELLED' WHERE result_id = $1`, [run]),
    deleted: ({ others }, run) => others.query('DELETE FROM task_runs WHERE result_id = $1', [run]),
    'put off by somebody': ({ others }, run) => others.query(`UPDATE task_runs SET run_after = now() + interval '1 h' WHERE result_id = $1`, [run]),
    'given another key': ({ others }, run) => others.query(`UPDATE task_runs SET lock_key = 'b' WHERE result_id = $1`, [run]),
    expired: ({ others }, run) => others.query(`UPDATE task_runs SET expires_at = now() - interval '1 s' WHERE result_id = $1`, [run]),
  }
  for (const [name, way] of Object.entries(ways)) {
    await t.test(name, async (t) => {
      const given = await givenDatabase(t)
      const { db, others } = given
      const session = await givenSession(db)
      const [, head, next] = [await make(given, { lock_key: 'a' }), await make(given, { lock_key: 'a', queue_name: 'elsewhere' }), await make(given, { lock_key: 'a', queue_name: 'elsewhere' })]
      const [first] = await take(db, session, 10, ['default', 'elsewhere'])
      await end(db, first)
      await unblock(db)
      t.strictSame(await placesOf(others, head), ['ready'])
      t.strictSame(await placesOf(others, next), ['blocked'])
      await way(given, head)
      for (let turn = 0; turn < 2; turn++) {
        await unblock(db)
        for (const leased of await take(db, session, 10, ['elsewhere'])) t.ok(leased.run === next || name === 'given another key')
      }
      t.equal(await statusOf(others, next), 'RUNNING')
      t.strictSame(await misplaced(others), [])
    })
  }
})

t.test('what is blocked can be cancelled, deleted, and given another place', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const [first, cancelled, deleted, moved] = [await make(given, { lock_key: 'a' }), await make(given, { lock_key: 'a' }), await make(given, { lock_key: 'a' }), await make(given, { lock_key: 'a' })]
  t.strictSame(ids(await take(db, session)), [first])
  t.match(await cancel(db, [cancelled]), [{ was: 'READY', status: 'CANCELLED', keyed: true }])
  await others.query('DELETE FROM task_runs WHERE result_id = $1', [deleted])
  await others.query(`UPDATE task_runs SET queue_name = 'other', priority = 3 WHERE result_id = $1`, [moved])
  for (const run of [cancelled, deleted]) t.strictSame(await placesOf(others, run), [])
  t.strictSame(await placesOf(others, moved), ['ready'])
  t.strictSame(await take(db, session, 1, ['other']), [])
  t.strictSame(await placesOf(others, moved), ['blocked'])
  t.strictSame(await misplaced(others), [])
})

t.test('a run stopped by its second key leaves the first to others', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  await make(given, { lock_key: 'a' })
  const both = await make(given, { lock_key: 'a', concurrency_key: 'k', concurrency_limit: 1 })
  const behind = await make(given, { lock_key: 'a' })
  await make(given, { concurrency_key: 'k', concurrency_limit: 1 })
  const [first] = await take(db, session)
  await end(db, first)
  await unblock(db)
  const turn = await leaseGated(db, ['default'], [session], 60_000)
  t.match(turn, { freed: true, runs: [] })
  t.equal(await blockedBy(others, both), 'concurrency:k')
  t.match(await unblock(db), { queues: ['default'] })
  t.strictSame(ids(await take(db, session)), [behind])
})

t.test('whatever ends an attempt frees its keys, whoever does it', async (t) => {
  const ways: Record<string, (given: Given, leased: Leased) => Promise<unknown>> = {
    fails: ({ db }, leased) => finalize(db, [{ ...leased, status: 'FAILED', error: null, lastError: null, delayMs: 0 }]),
    'is released': ({ db }, leased) => release(db, [{ ...leased, delayMs: 60_000 }]),
    'is reclaimed by the Go worker': ({ others }, { run }) => others.query(`UPDATE task_runs SET status = 'FAILED', leased_by = NULL WHERE result_id = $1`, [run]),
    'is deleted': ({ others }, { run }) => others.query('DELETE FROM task_runs WHERE result_id = $1', [run]),
  }
  for (const [name, way] of Object.entries(ways)) {
    await t.test(name, async (t) => {
      const given = await givenDatabase(t)
      const { db, others } = given
      const session = await givenSession(db)
      const keys = { lock_key: 'a', concurrency_key: 'k', concurrency_limit: 1 }
      const [, next] = [await make(given, keys), await make(given, keys)]
      const [first] = await take(db, session)
      await way(given, first as Leased)
      t.match(await unblock(db), { queues: ['default'] })
      t.strictSame(ids(await take(db, session)), [next])
      t.strictSame(await misplaced(others), [])
    })
  }
})

t.test('a run that the Go worker claims holds its keys too', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const [theirs, ours] = [await make(given, { lock_key: 'a' }), await make(given, { lock_key: 'a' })]
  await others.query(`UPDATE task_runs SET status = 'RUNNING', leased_by = 'go', attempts = 1 WHERE result_id = $1`, [theirs])
  t.strictSame(await take(db, session), [])
  t.strictSame(await misplaced(others), [])
  await others.query(`UPDATE task_runs SET status = 'SUCCESSFUL', leased_by = NULL WHERE result_id = $1`, [theirs])
  t.strictSame(ids(await take(db, session)), [ours])
})

t.test('keys of runs that went past the triggers are let go, and only those', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const [gone, there] = [await make(given, { lock_key: 'a' }), await make(given, { lock_key: 'b' })]
  t.strictSame(ids(await take(db, session)), [gone, there])
  const waits = await make(given, { lock_key: 'a' })
  t.strictSame(await take(db, session), [])
  t.equal(await releaseStaleHolds(db), 0)
  await others.query(`BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM task_runs WHERE result_id = ${gone}; COMMIT`)
  t.equal(await releaseStaleHolds(db), 1)
  t.strictSame(ids(await take(db, session)), [waits])
  t.strictSame((await others.query('SELECT key FROM reproq_holds ORDER BY key')).rows, [{ key: 'lock:a' }, { key: 'lock:b' }])
})

t.test('a row that somebody else has locked is passed over, and so is one that has ended; keys may be of any length', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const long = 'ä'.repeat(5_000)
  const [locked, ended, first, second] = [await make(given, { lock_key: 'x' }), await make(given, { lock_key: 'y' }), await make(given, { lock_key: long }), await make(given, { lock_key: long })]
  const holder = await others.connect()
  t.teardown(() => holder.release(true))
  await holder.query('BEGIN')
  await holder.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [locked])
  await others.query(`BEGIN; SET LOCAL reproq.internal = on; UPDATE task_runs SET status = 'CANCELLED' WHERE result_id = ${ended}; COMMIT`)
  t.strictSame(ids(await take(db, session)), [first])
  t.match(await blockedBy(others, second), /^lock:sha256:[0-9a-f]{64}$/)
  t.strictSame(await placesOf(others, ended), [], 'its entry was left behind, and goes')
  await holder.query('ROLLBACK')
  t.strictSame(ids(await take(db, session)), [locked])
})

t.test('a run that an open transaction only refers to is not passed over', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const parent = await make(given, { lock_key: 'a' })
  const holder = await others.connect()
  t.teardown(() => holder.release(true))
  await holder.query('BEGIN')
  await holder.query(`INSERT INTO task_runs (spec_json, spec_hash, task_path, status, parent_id) VALUES ('{}', 'x', 't', 'WAITING', $1)`, [parent])
  t.strictSame(ids(await take(db, await givenSession(db))), [parent])
})

t.test('what does not start in time never starts, and says so', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  const late = await make(given, { expires_at: new Date(Date.now() - 1_000) })
  const early = await make(given, { expires_at: new Date(Date.now() + 60_000) })
  const turn = await leaseGated(db, ['default'], [session, session], 60_000)
  t.match(turn, { expired: [{ run: late, queue: 'default', task: 'app.task' }], runs: [{ run: early }] })
  t.match(await rowOf(others, late), { status: 'CANCELLED', attempts: 0, errors_json: [{ kind: 'expired' }] })
  t.strictSame(await misplaced(others), [])
})

t.test('no more is looked at in one turn than asked for; what is left is for the next', async (t) => {
  const given = await givenDatabase(t)
  const { db, others } = given
  const session = await givenSession(db)
  for (let count = 0; count < 30; count++) await make(given, { lock_key: 'a' })
  const plain = await make(given)
  const turn = await leaseGated(db, ['default'], [session, session], 60_000, 10)
  t.match(turn, { more: true, runs: { length: 1 } })
  t.match((await others.query('SELECT count(*)::int AS blocked FROM reproq_blocked')).rows, [{ blocked: 11 }])
  const later = await leaseGated(db, ['default'], [session, session], 60_000, 100)
  t.match(later, { more: false, runs: [{ run: plain }] })
})
