import t from 'tap'
import { remoteTask } from '../../../sdk-ts/src/index.js'
import { testBroker } from '../../../test/helpers/broker.js'
import { ScriptedWorker } from '../../../test/helpers/scripted-worker.js'
import { givenDatabase, givenSession, newRunOf } from '../../../test/helpers/given.js'
import { until } from '../../../test/helpers/wait.js'
import type { Db } from '../db/pool.js'
import { BrokerError } from '../errors.js'
import { Events } from '../events.js'
import { Dispatch } from './dispatch.js'
import { Ingest } from './ingest.js'
import { promote } from '../runs/promote.js'
import { Due } from './due.js'
import { Settle } from './settle.js'

const task = remoteTask<{ args: unknown[] }, unknown>('t.echo')
const items = (count: number) => Array.from({ length: count }, (_, index) => ({ input: { args: [index] } }))

t.test('a run for which a worker has room is born leased: RUNNING when its enqueue is answered, and never ready', async (t) => {
  const { reproq, url, token, database } = await testBroker(t)
  await database.pool.query(`CREATE TABLE ever_ready AS SELECT result_id FROM reproq_ready; CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ever_ready VALUES (NEW.result_id); RETURN NEW; END $$; CREATE TRIGGER keep AFTER INSERT ON reproq_ready FOR EACH ROW EXECUTE FUNCTION keep()`)
  const worker = await ScriptedWorker.hello(t, url, token)
  await queueIsKnownEmpty(worker, database)

  const run = await reproq.enqueue(task, { args: [1.5] })
  t.match(await run.get(), { status: 'RUNNING', attempts: 1, worker_ids: ['scripted#one'] })
  const frame = await worker.next('runs')
  t.match(frame.items, [{ run: run.id, attempt: 1, task: 't.echo' }])
  t.match(JSON.parse(frame.items[0]?.spec ?? ''), { args: [1.5], task_path: 't.echo' })
  t.strictSame((await database.pool.query('SELECT * FROM ever_ready')).rows, [])
  worker.send({ t: 'result', items: [{ l: frame.items[0]?.l, outcome: 'ok', output: '1' }] })
  t.match((await worker.next('result_ok')).items, [{ disp: 'finalized' }])
})

t.test('no more runs are born leased than there is room, however many enqueue at once', async (t) => {
  const { reproq, url, token, database } = await testBroker(t)
  const worker = await ScriptedWorker.hello(t, url, token, { subs: [{ queues: ['default'], window: 5 }] })
  await queueIsKnownEmpty(worker, database)
  await Promise.all([
    reproq.enqueueMany(task, items(20)),
    reproq.enqueueMany(task, items(20).map((item) => ({ ...item, priority: 9 }))),
    ...Array.from({ length: 10 }, () => reproq.enqueue(task, { args: [] })),
  ])
  const { rows } = await database.pool.query(`SELECT status, count(*)::int AS count FROM task_runs GROUP BY status ORDER BY status`)
  t.strictSame(rows, [{ status: 'READY', count: 45 }, { status: 'RUNNING', count: 5 }])
  t.equal((await database.pool.query('SELECT * FROM reproq_leases')).rowCount, 5)
  t.equal((await database.pool.query('SELECT * FROM reproq_ready')).rowCount, 45)
})

t.test('where there is not room for all of a request, the urgent runs are born leased', async (t) => {
  const { reproq, url, token, database } = await testBroker(t)
  const worker = await ScriptedWorker.hello(t, url, token, { subs: [{ queues: ['default'], window: 3 }] })
  await queueIsKnownEmpty(worker, database)
  await reproq.enqueueMany(task, items(20).map((item, index) => ({ ...item, priority: index % 5 === 4 ? 7 : 0 })))
  const { rows } = await database.pool.query(`SELECT priority FROM task_runs WHERE status = 'RUNNING'`)
  t.strictSame(rows, [{ priority: 7 }, { priority: 7 }, { priority: 7 }])
})

t.test('nothing is born leased past what is ready, nor in a paused queue', async (t) => {
  const { reproq, url, token, database } = await testBroker(t, { lookMs: 60_000 })
  const worker = await ScriptedWorker.hello(t, url, token, { subs: [{ queues: ['default'], window: 1 }] })
  await queueIsKnownEmpty(worker, database)
  const [first, second] = [await reproq.enqueue(task, { args: [1] }), await reproq.enqueue(task, { args: [2] })]
  const held = await worker.next('runs')
  t.equal(held.items[0]?.run, first?.id)
  worker.send({ t: 'subs', v: 2, items: [{ queues: ['default'], window: 2 }] })
  t.equal((await worker.next('runs')).items[0]?.run, second?.id, 'the one that waited')

  await database.pool.query(`INSERT INTO reproq_queue_controls (queue_name, paused) VALUES ('default', true)`)
  worker.send({ t: 'subs', v: 3, items: [{ queues: ['default'], window: 3 }] })
  const third = await reproq.enqueue(task, { args: [3] })
  t.equal((await third.get()).status, 'READY')
  await database.pool.query(`UPDATE reproq_queue_controls SET paused = false`)
  t.equal((await worker.next('runs')).items[0]?.run, third.id, 'leased when the queue goes on')
})

t.test('a run born leased to a worker that has just gone is not lost', async (t) => {
  // The last worker says nothing for as long as it takes.
  const { reproq, url, token, database } = await testBroker(t, { heartbeatMs: 60_000, leaseMs: 60_000 })
  for (let round = 0; round < 10; round++) {
    const worker = await ScriptedWorker.hello(t, url, token, { instance: `i${round}` })
    const enqueued = reproq.enqueue(task, { args: [round] })
    worker.drop()
    await enqueued
  }
  const last = await ScriptedWorker.hello(t, url, token, { instance: 'last', subs: [{ queues: ['default'], window: 100 }] })
  const seen = new Set<string>()
  await until('all ten reach the last worker', async () => {
    for (const frame of last.received) if (frame.t === 'runs') for (const item of frame.items) seen.add(item.run)
    return seen.size === 10
  })
  t.equal((await database.pool.query('SELECT * FROM task_runs')).rowCount, 10)
})

t.test('when the answer of a statement is lost, it is said that runs may be born leased that nobody knows; a refusal leaves no such doubt', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db, 'w')
  const events = new Events()
  let lost = false
  // The statement is carried out, and its answer does not arrive.
  const db: Db = {
    query: async (statement, params) => {
      const rows = await given.db.query(statement, params)
      if (lost) throw new BrokerError('DATABASE_UNAVAILABLE', 'gone', { cause: new Error('Connection terminated unexpectedly') })
      return rows
    },
  }
  const dispatch = new Dispatch(given.db, events, { leaseMs: 60_000, onError: (error) => t.fail(String(error)), onUndelivered: () => t.fail('undelivered') })
  const settle = new Settle(given.db, events, { retry: { baseMs: 1, capMs: 1, jitter: 0 }, outputBytes: 1_000 })
  const scheduled = new Due(() => promote(given.db), (error) => t.fail(String(error)))
  let doubts = 0
  const ingest = new Ingest(db, events, dispatch, settle, scheduled, { leaseMs: 60_000, onUncertain: () => doubts++ })
  t.teardown(() => [dispatch, scheduled, settle].forEach((part) => part.stop()))
  const lane = ['default']
  const taker = { ...session, free: 2, freeLanes: () => [{ queues: lane, free: taker.free }], deliver: () => true }
  dispatch.register(taker)
  await until('the queue is known to be empty', () => !dispatch.isBusy && !dispatch.isBehind)

  await t.rejects(ingest.enqueue([newRunOf({ spec: '"\\u0000"' })]), { code: 'DATABASE_REFUSED' })
  t.equal(doubts, 0, 'refused: nothing was written')
  lost = true
  await t.rejects(ingest.enqueue([newRunOf({ queue: 'elsewhere' })]), { code: 'DATABASE_UNAVAILABLE' })
  t.equal(doubts, 0, 'lost, but nobody had room: what was written is ready, and will be found')
  await t.rejects(ingest.enqueue([newRunOf()]), { code: 'DATABASE_UNAVAILABLE' })
  t.equal(doubts, 1)
  const { rows } = await given.others.query(`SELECT queue_name, status FROM task_runs ORDER BY result_id`)
  t.strictSame(rows, [{ queue_name: 'elsewhere', status: 'READY' }, { queue_name: 'default', status: 'RUNNING' }], 'rightly so')
  t.equal(dispatch.room, 2, 'the places are promised to nobody any more')
})

/** The broker has looked into the queue since the worker came, and found nothing. */
async function queueIsKnownEmpty(worker: ScriptedWorker, { pool }: { pool: import('pg').Pool }) {
  await pool.query(`SELECT reproq_enqueue('t.probe')`)
  const { items } = await worker.next('runs')
  worker.send({ t: 'result', items: [{ l: items[0]?.l, outcome: 'ok', output: 'null' }] })
  await worker.next('result_ok')
  await pool.query('TRUNCATE task_runs CASCADE')
  await pool.query(`DO $$ BEGIN IF to_regclass('ever_ready') IS NOT NULL THEN DELETE FROM ever_ready; END IF; END $$`)
}
