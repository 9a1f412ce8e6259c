import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess } from '../helpers/broker.js'
import { allSucceededOnce, givenAudited, histories, startedMoreThanOnce, unfinished } from '../helpers/ledger.js'
import { stubborn, work } from '../helpers/ledger-tasks.js'
import { producer } from '../helpers/producer.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const KNOBS = { heartbeatMs: 400, leaseMs: 10_000, safetyMs: 1_000, reconnectMs: 6_000 }

t.test('SIGTERM of a worker: what ends in time ends, the rest goes back at no cost, and another does it', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const { url } = await brokerProcess(t, database.url, KNOBS)
  const reproq = new Reproq({ url, token })
  const leaving = await workerProcess(t, { urls: url, token, name: 'leaving', concurrency: 2, window: 6, drainMs: 1_500, env: ledger.env })
  const [short, long, ...prefetched] = await reproq.enqueueMany(work, [500, 4_000, 50, 50, 50, 50].map((ms) => ({ input: { ms } })))
  if (!short || !long) throw new Error('not enqueued')
  await until('two run and four wait in the worker', async () => ledger.starts().length === 2 && (await database.pool.query('SELECT FROM reproq_leases')).rowCount === 6)
  leaving.kill('SIGTERM')
  await until('what had not started is ready again', async () => (await database.pool.query('SELECT FROM reproq_ready')).rowCount === 4)
  t.match(await leaving.exited, { code: 0, signal: null }, 'exit code 0')

  const rows = await histories(database)
  const of = (id: string) => rows.find(({ run }) => run === id)
  t.match(of(short.id), { status: 'SUCCESSFUL', attempts: 1 })
  for (const { id } of [long, ...prefetched]) t.match(of(id), { status: 'READY', attempts: 0, kinds: [] })
  t.equal((await database.pool.query('SELECT FROM reproq_sessions')).rowCount, 0, 'it has said goodbye')

  await workerProcess(t, { urls: url, token, name: 'other', concurrency: 4, env: ledger.env })
  await until('all is done', async () => (await unfinished(database)) === 0)
  const after = await allSucceededOnce(t, database, ledger)
  t.strictSame(after.filter(({ attempts, kinds }) => attempts !== 1 || kinds.length > 0), [], 'nobody paid')
  t.strictSame([...startedMoreThanOnce(ledger).keys()], [long.id], 'only the interrupted one was started again')
})

t.test('a second SIGTERM ends a worker at once, and what it ran goes back at no cost', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const { url } = await brokerProcess(t, database.url, KNOBS)
  const reproq = new Reproq({ url, token })
  const worker = await workerProcess(t, { urls: url, token, name: 'forced', drainMs: 60_000, env: ledger.env })
  const run = await reproq.enqueue(stubborn, { ms: 60_000 })
  await until('it runs', () => ledger.starts().length === 1)
  worker.kill('SIGTERM')
  await until('it drains', () => worker.log().includes('Finishing what runs'))
  worker.kill('SIGTERM')
  const forcedAt = performance.now()
  t.match(await worker.exited, { code: 130 })
  t.ok(performance.now() - forcedAt < 5_000)
  t.match((await histories(database)).find((row) => row.run === run.id), { status: 'READY', attempts: 0, kinds: [] })
})

t.test('SIGTERM of a broker: results are taken while it drains, and what runs longer finds the next broker', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const knobs = { ...KNOBS, drainMs: 1_200 }
  const broker = await brokerProcess(t, database.url, knobs)
  const { url } = broker
  const worker = await workerProcess(t, { urls: url, token, name: 'stays', env: ledger.env })
  const reproq = new Reproq({ url, token })
  const [short, long] = await reproq.enqueueMany(work, [600, 4_000].map((ms) => ({ input: { ms } })))
  if (!short || !long) throw new Error('not enqueued')
  await until('both run', () => ledger.starts().length === 2)
  broker.child.kill('SIGTERM')
  t.strictSame(await broker.exited, [0, null], 'exit code 0')
  t.match((await histories(database)).map(({ status, attempts }) => [status, attempts]), [['SUCCESSFUL', 1], ['RUNNING', 1]], 'the result of the short one was taken, the long one runs on')

  await brokerProcess(t, database.url, { ...knobs, port: Number(new URL(url).port) })
  t.match(await long.result({ timeout: '15s' }), { attempt: 1 })
  t.equal(worker.connections(), 2)
  await allSucceededOnce(t, database, ledger)
  t.equal(ledger.starts().length, 2, 'each was started once')
})

t.test('five restarts of a broker under load: no duplicate, and no attempt used up', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  let broker = await brokerProcess(t, database.url, KNOBS)
  const { url } = broker
  const port = Number(new URL(url).port)
  const workers = await Promise.all(['one', 'two'].map((name) => workerProcess(t, { urls: url, token, name, concurrency: 4, env: ledger.env })))
  const reproq = new Reproq({ url, token })
  const load = producer(t, reproq, (n) => ({ input: { ms: 20 + (n % 8) * 20 } }))
  for (let round = 1; round <= 5; round++) {
    const before = load.acknowledged.size
    await until('the load goes on', () => load.acknowledged.size > before + 15)
    broker.child.kill('SIGTERM')
    t.strictSame(await broker.exited, [0, null])
    broker = await brokerProcess(t, database.url, { ...KNOBS, port })
    await until('both workers are back', () => workers.every((worker) => worker.connections() === round + 1))
  }
  const { keys, acknowledged } = await load.stop()
  await until('all is done', async () => (await unfinished(database)) === 0, 20_000)
  const rows = await allSucceededOnce(t, database, ledger)
  t.equal(rows.length, keys)
  t.strictSame([...acknowledged].filter((id) => !rows.some(({ run }) => run === id)), [], 'every acknowledged enqueue is there')
  t.strictSame([...startedMoreThanOnce(ledger)], [], 'no run was started twice')
  t.strictSame(rows.filter(({ attempts, kinds }) => attempts !== 1 || kinds.length > 0), [], 'and no attempt was used up')
})
