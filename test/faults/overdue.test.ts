import t from 'tap'
import { remoteTask, Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { testLedger } from '../helpers/ledger.js'
import { stubborn, work } from '../helpers/ledger-tasks.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const LIMIT_MS = 1_000

t.test('TypeScript that ignores its signal: each attempt ends at its limit, the slot is free, and the last one fails the run', async (t) => {
  const database = await testDatabase(t)
  const ledger = testLedger(t)
  const token = await givenToken(database.url, ['admin'])
  const { url } = await brokerProcess(t, database.url)
  await workerProcess(t, { urls: url, token, name: 'typescript', concurrency: 1, window: 1, env: ledger.env })
  const reproq = new Reproq({ url, token })
  const run = await reproq.enqueue(stubborn, { ms: 60_000 }, { maxAttempts: 2, timeout: LIMIT_MS })
  const { status, attempts, errors } = await until('it is over', async () => {
    const found = await run.get()
    return found.finished_at !== null && found
  })
  t.match({ status, attempts, kinds: errors.map(({ kind }) => kind) }, { status: 'FAILED', attempts: 2, kinds: ['timeout', 'timeout'] })
  t.equal(ledger.starts().length, 2)
  const next = await reproq.enqueue(work, {})
  await next.result({ timeout: '5s' })
})

t.test('Python that spins: killed at its limit in each attempt, and then failed', async (t) => {
  const database = await testDatabase(t)
  const token = await givenToken(database.url, ['admin'])
  const { url } = await brokerProcess(t, database.url)
  await workerProcess(t, { urls: url, token, name: 'python', concurrency: 1, window: 1, tasks: 'python' })
  const reproq = new Reproq({ url, token })
  const run = await reproq.enqueue(remoteTask<{ args: unknown[] }, unknown>('fault_tasks.spin'), { args: [] }, { maxAttempts: 2, timeout: LIMIT_MS })
  const { status, attempts, errors } = await until('it is over', async () => {
    const found = await run.get()
    return found.finished_at !== null && found
  })
  t.match({ status, attempts, kinds: errors.map(({ kind }) => kind) }, { status: 'FAILED', attempts: 2, kinds: ['timeout', 'timeout'] })
})

t.test('a run that waits in its worker for longer than its own limit does not pay for it', async (t) => {
  const database = await testDatabase(t)
  const ledger = testLedger(t)
  const token = await givenToken(database.url, ['admin'])
  const { url } = await brokerProcess(t, database.url)
  await workerProcess(t, { urls: url, token, name: 'occupied', concurrency: 1, window: 2, env: ledger.env })
  const reproq = new Reproq({ url, token })
  const long = await reproq.enqueue(work, { ms: 60_000 })
  await until('it runs', () => ledger.starts().length === 1)
  const waiting = await reproq.enqueue(work, {}, { maxAttempts: 1, timeout: LIMIT_MS })
  const lease = async () => (await database.pool.query<{ lease: string }>(`SELECT reproq_lease_id::text AS lease FROM task_runs WHERE status = 'RUNNING' AND result_id = $1`, [waiting.id])).rows[0]?.lease
  const first = await until('it waits', lease)
  await until('that lease is over', async () => (await lease()) !== first, 12_000)
  await long.cancel()
  t.match(await waiting.result({ timeout: '10s' }), { attempt: 1 })
  t.match(await waiting.get(), { status: 'SUCCESSFUL', attempts: 1, errors: [] })
})

t.test('a worker that never enforces a limit: the broker tells it to, then ends the attempt without it', async (t) => {
  const database = await testDatabase(t)
  const token = await givenToken(database.url, ['admin'])
  const { url } = await brokerProcess(t, database.url)
  const worker = await ScriptedWorker.hello(t, url, token)
  const reproq = new Reproq({ url, token })
  const run = await reproq.enqueue(work, {}, { maxAttempts: 1, timeout: LIMIT_MS })
  const { items } = await worker.next('runs')
  const l = items[0]?.l as number
  worker.send({ t: 'accept', l: [l] })
  let n = 0
  const beating = setInterval(() => worker.send({ t: 'hb', n: ++n, held: [l] }), 100)
  t.teardown(() => clearInterval(beating))

  t.match((await worker.next('cancel', 12_000)).items, [{ l, mode: 'hard', reason: 'timeout' }])
  const { status, attempts, errors } = await until('it is over', async () => {
    const found = await run.get()
    return found.finished_at !== null && found
  })
  t.match({ status, attempts, kinds: errors.map(({ kind }) => kind) }, { status: 'FAILED', attempts: 1, kinds: ['timeout'] })
  await until('the worker learns that the lease is lost', () => worker.received.some((frame) => frame.t === 'hb_ack' && frame.lost.includes(l)))
  worker.send({ t: 'result', items: [{ l, outcome: 'ok', output: '"late"' }] })
  t.match((await worker.next('result_no')).items, [{ l, code: 'unknown_handle' }], 'its late result is refused')
  t.match(await run.get(), { status: 'FAILED' })
})
