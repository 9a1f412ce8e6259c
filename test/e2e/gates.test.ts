import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { givenToken, testBroker } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { misplaced } from '../helpers/given.js'
import { auditKeys, keyViolations } from '../helpers/key-audit.js'
import { testLedger, unfinished } from '../helpers/ledger.js'
import { work } from '../helpers/ledger-tasks.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

t.test('two brokers, three workers, one of them killed: locks and limits hold, everything ends, nothing is left', async (t) => {
  const database = await testDatabase(t)
  await auditKeys(database.pool)
  const ledger = testLedger(t)
  const a = await testBroker(t, {}, database)
  const b = await testBroker(t, {}, database)
  const token = await givenToken(database.url, ['admin'])
  const [atA, atB] = [new Reproq({ url: a.url, token }), new Reproq({ url: b.url, token })]
  const options = { token, concurrency: 8, env: ledger.env }
  const [victim] = await Promise.all([
    workerProcess(t, { ...options, urls: a.url, name: 'victim' }),
    workerProcess(t, { ...options, urls: a.url, name: 'at-a' }),
    workerProcess(t, { ...options, urls: b.url, name: 'at-b' }),
  ])

  const enqueued = []
  for (let at = 0; at < 120; at++) {
    const keys = at % 3 === 0 ? { lockKey: `account-${at % 4}` } : at % 3 === 1 ? { concurrency: { key: 'api', limit: 3 } } : {}
    enqueued.push((at % 2 ? atA : atB).enqueue(work, { ms: 10 + (at % 20) }, keys))
  }
  const runs = await Promise.all(enqueued)
  await until('it is well under way', () => ledger.starts().length > 30)
  victim.kill('SIGKILL')
  await until('all is done', async () => (await unfinished(database)) === 0, 30_000)
  t.strictSame(new Set(await Promise.all(runs.map(async (run) => (await run.get()).status))), new Set(['SUCCESSFUL']))
  const { checks, violations } = await keyViolations(database.pool)
  t.comment(`${checks} starts of runs with keys`)
  t.strictSame(violations, [])
  t.ok(checks >= 80)
  t.strictSame(await misplaced(database.pool), [])
})

t.test('a run waits for its key at one broker, and starts as soon as it is free at another', async (t) => {
  const database = await testDatabase(t)
  const ledger = testLedger(t)
  // No look would come in time: what wakes must be told.
  const a = await testBroker(t, { lookMs: 60_000 }, database)
  const b = await testBroker(t, { lookMs: 60_000 }, database)
  const token = await givenToken(database.url, ['admin'])
  await Promise.all([
    workerProcess(t, { urls: a.url, token, name: 'at-a', queues: ['at-a'], env: ledger.env }),
    workerProcess(t, { urls: b.url, token, name: 'at-b', queues: ['at-b'], env: ledger.env }),
  ])
  const first = await a.reproq.enqueue(work, { ms: 300 }, { queue: 'at-a', lockKey: 'one' })
  await until('the first runs', () => ledger.startsOf(first.id).length === 1)
  const second = await a.reproq.enqueue(work, {}, { queue: 'at-b', lockKey: 'one' })
  await until('the second is blocked', async () => (await database.pool.query('SELECT FROM reproq_blocked')).rows.length === 1)
  await second.result({ timeout: '10s' })
  const held = await a.reproq.enqueue(work, { ms: 60_000 }, { queue: 'at-a', lockKey: 'one' })
  await until('it runs', () => ledger.startsOf(held.id).length === 1)
  const third = await b.reproq.enqueue(work, {}, { queue: 'at-b', lockKey: 'one' })
  await held.cancel()
  await third.result({ timeout: '10s' })
  await database.pool.query(`INSERT INTO task_runs (spec_json, spec_hash, task_path, lock_key, status, leased_by) VALUES ('{}', 'x', 'go.task', 'one', 'RUNNING', 'go')`)
  const fourth = await b.reproq.enqueue(work, {}, { queue: 'at-b', lockKey: 'one' })
  await until('the fourth is blocked by a foreign worker', async () => (await database.pool.query('SELECT FROM reproq_blocked')).rows.length === 1)
  await database.pool.query(`UPDATE task_runs SET status = 'SUCCESSFUL', leased_by = NULL WHERE leased_by = 'go'`)
  await fourth.result({ timeout: '10s' })
  t.strictSame(await misplaced(database.pool), [])
})

t.test('runs that a rate limit stopped start by themselves when it lets them, in their order; a paused queue stands still at once', async (t) => {
  const { reproq, url, token, database } = await testBroker(t, { lookMs: 60_000 })
  const ledger = testLedger(t)
  await workerProcess(t, { urls: url, token, name: 'w', concurrency: 20, queues: ['default', 'mail'], env: ledger.env })
  await database.pool.query(`INSERT INTO rate_limits VALUES ('queue:mail', 20, 2, 2)`)
  const runs = await reproq.enqueueMany(work, Array.from({ length: 12 }, () => ({ input: {}, queue: 'mail' })))
  const other = await reproq.enqueue(work, {})
  await other.result({ timeout: '10s' })
  t.ok(ledger.starts().length < 13, 'a run of another queue passes those that wait')
  await Promise.all(runs.map((run) => run.result({ timeout: '20s' })))
  t.strictSame(ledger.starts().map(({ run }) => run).filter((run) => run !== other.id), runs.map(({ id }) => id), 'in their order')

  await database.pool.query(`INSERT INTO reproq_queue_controls (queue_name, paused) VALUES ('mail', true)`)
  const paused = await reproq.enqueue(work, {}, { queue: 'mail', lockKey: 'x' })
  await (await reproq.enqueue(work, {}, { lockKey: 'x' })).result({ timeout: '10s' })
  t.equal((await paused.get()).status, 'READY')
  await database.pool.query(`UPDATE reproq_queue_controls SET paused = false`)
  await paused.result({ timeout: '10s' })
  t.strictSame(await misplaced(database.pool), [])
})
