import t from 'tap'
import { AccessDenied, HttpProblem, Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken, testBroker, type TestBroker } from '../helpers/broker.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

async function givenDead({ database }: Pick<TestBroker, 'database'>, count: number): Promise<void> {
  await database.pool.query(
    `INSERT INTO task_runs (queue_name, spec_json, spec_hash, task_path, status, attempts, finished_at, last_error)
     SELECT 'mail', '{"args": [], "kwargs": {}}', 'h' || n, 't.task', 'FAILED', 3, now(), 'boom' FROM generate_series(1, $1) n`,
    [count],
  )
}

const isDone = (reproq: Reproq, id: string) => until('the operation is done', async () => (await reproq.operations.get(id)).status === 'DONE', 20_000)

t.test('dead letters are listed, counted, retried one by one or all that a filter means', async (t) => {
  const own = await testBroker(t)
  const { reproq } = own
  await givenDead(own, 5)
  const { runs } = await reproq.list({ status: 'FAILED', error: 'BOO', finishedAfter: new Date(0), enqueuedBefore: '2100-01-01T00:00:00Z', limit: 2 })
  t.match(runs, [{ id: '5', last_error: 'boom' }, { id: '4' }])
  t.strictSame((await reproq.list({ finishedBefore: new Date(0) })).runs, [])
  t.strictSame((await reproq.list({ error: 'bang' })).runs, [])
  t.strictSame((await reproq.list({ enqueuedAfter: '2100-01-01T00:00:00Z' })).runs, [])

  t.strictSame((await reproq.list({ enqueuedBefore: '2020-01-01T00:00:00+23:00' })).runs, [], 'a zone that Postgres does not know')
  for (const enqueuedAfter of ['0000-01-01T00:00:00Z', '2026-01-01T23:59:60Z']) await t.rejects(reproq.list({ enqueuedAfter }), { code: 'INVALID_REQUEST', status: 400 })

  t.strictSame(await reproq.retry(['5', '77', '4']), [{ run: '5', outcome: 'retried', other: null, error: null }, { run: '77', outcome: 'not_found', other: null, error: null }, { run: '4', outcome: 'retried', other: null, error: null }])
  t.match(await reproq.replay(['3']), [{ run: '3', outcome: 'replayed', other: '6' }])
  t.match(await reproq.replay({ specHash: 'h3' }), [{ run: '6', outcome: 'not_final' }])
  await t.rejects(reproq.replay({ specHash: 'none' }), { code: 'RUN_NOT_FOUND' })

  t.strictSame(await reproq.operations.count({ action: 'retry', filter: { queue: 'mail' } }), { matched: 3, complete: true })
  const { id } = await reproq.operations.start({ action: 'retry', filter: { queue: 'mail' } })
  await isDone(reproq, id)
  t.match(await reproq.operations.get(id), { matched: 3, changed: 3, progress: 1, requested_by: /^test-/ })
  t.match((await reproq.operations.list()).operations, [{ id }])
  await t.rejects(reproq.operations.start({ action: 'delete', filter: {} }), { code: 'INVALID_REQUEST', message: /empty/ })
  await t.rejects(reproq.operations.get('99'), { code: 'OPERATION_NOT_FOUND', status: 404 })
})

t.test('an operation outlives the broker that began it', async (t) => {
  const own = await testBroker(t, { lookMs: 100 })
  await givenDead(own, 20_000)
  const doomed = await brokerProcess(t, own.database.url)
  const there = new Reproq({ url: doomed.url, token: own.token })
  const { id } = await there.operations.start({ action: 'delete', filter: { queue: 'mail' } })
  await until('it has begun', async () => (await own.reproq.operations.get(id)).changed > 0)
  doomed.child.kill('SIGKILL')
  await isDone(own.reproq, id)
  t.match(await own.reproq.operations.get(id), { matched: 20_000, changed: 20_000 })
  const { rows } = await own.database.pool.query('SELECT count(*)::int FROM task_runs')
  t.strictSame(rows, [{ count: 0 }])
})

t.test('a paused queue gives out nothing from that moment on, and goes on when it is resumed', async (t) => {
  const { url, token, reproq } = await testBroker(t)
  const worker = await ScriptedWorker.hello(t, url, token, { worker: 'w', subs: [{ queues: ['mail'], window: 1 }] })
  const queue = encodeURIComponent('mail')
  t.match(await reproq.queues.pause(queue, { reason: 'the provider is down' }), { name: 'mail', paused: true, reason: 'the provider is down', paused_at: /^\d/ })
  const { id } = await reproq.enqueue('t', {}, { queue: 'mail' })
  await reproq.enqueue('t', {}, { queue: 'mail', delay: '1h' })
  t.match(await reproq.queues.list(), [{ name: 'mail', ready: 1, blocked: 0, scheduled: 1, running: 0, workers: 1, paused: true, reason: 'the provider is down', oldest_ready_at: /^\d/ }])
  t.equal((await reproq.get(id)).status, 'READY')
  t.match(await reproq.queues.resume('mail'), { paused: false, reason: null })
  t.match((await worker.next('runs')).items, [{ run: id }])
  t.match(await reproq.queues.list(), [{ ready: 0, running: 1, paused: false }])
  t.match(await reproq.workers.list(), [{ name: 'w', queues: ['mail'], running: 1, connected: true, expires_at: /^\d/ }])

  for (let n = 0; n < 2; n++) await reproq.enqueue('t', {}, { queue: 'mail', lockKey: 'one' })
  const second = await ScriptedWorker.hello(t, url, token, { worker: 'v', subs: [{ queues: ['mail'], window: 2 }] })
  await second.next('runs')
  await until('the other waits for the lock', async () => (await reproq.queues.list())[0]?.blocked === 1)

  const cleared = await reproq.queues.clear('mail')
  await isDone(reproq, cleared.id)
  t.equal((await reproq.operations.get(cleared.id)).changed, 2, 'what waits, not what runs')
  t.match(await reproq.queues.list(), [{ ready: 0, blocked: 0, scheduled: 0, running: 2 }])
  t.equal((await reproq.get(id)).status, 'RUNNING')
})

t.test('a worker that is drained finishes what it runs and ends; one that is stopped gives it back; through any broker', async (t) => {
  const own = await testBroker(t)
  const other = await testBroker(t, {}, own.database)
  const start = async (name: string) => workerProcess(t, { urls: own.url, token: own.token, name, concurrency: 1, tasks: 'ledger', queues: [name], env: { REPROQ_TEST_LEDGER: '/dev/null' } })
  const [drained, stopped] = [await start('drained'), await start('stopped')]
  const work = async (queue: string, ms: number) => {
    const run = await own.reproq.enqueue('ledger.work', { ms }, { queue })
    await until('it runs', async () => (await run.get()).status === 'RUNNING')
    return run
  }
  const [short, long] = [await work('drained', 1_000), await work('stopped', 60_000)]
  const nameOf = async (prefix: string) => (await own.reproq.workers.list()).find(({ name }) => name.startsWith(prefix))?.name as string

  t.match(await other.reproq.workers.drain(await nameOf('drained')), { told: true })
  t.match(await drained.exited, { code: 0 })
  t.equal((await short.get()).status, 'SUCCESSFUL')
  const run = await own.reproq.enqueue('no.such', {}, { queue: 'drained' })
  t.equal((await run.get()).status, 'READY')
  t.match(await other.reproq.workers.stop(await nameOf('stopped')), { told: true })
  t.match(await stopped.exited, { code: 0 })
  t.match(await long.get(), { status: 'READY', attempts: 0 })
  t.strictSame(await own.reproq.workers.list(), [])
  await t.rejects(own.reproq.workers.drain('nobody'), { code: 'WORKER_NOT_FOUND' })
  await own.database.pool.query(`INSERT INTO reproq_workers (worker_id) VALUES ('go-1')`)
  t.match(await own.reproq.workers.drain('go-1'), { told: false }, 'a worker of another kind is not ours to tell')
})

t.test('what changes many runs, queues or workers needs admin', async (t) => {
  const own = await testBroker(t)
  const as = async (...scopes: string[]) => new Reproq({ url: own.url, token: await givenToken(own.database.url, scopes) })
  const [reader, producer] = [await as('read'), await as('enqueue')]
  const denied: [string, () => Promise<unknown>][] = [
    ['start', () => producer.operations.start({ action: 'retry', filter: { queue: 'q' } })],
    ['count', () => reader.operations.count({ action: 'retry', filter: { queue: 'q' } })],
    ['stop', () => reader.operations.stop('1')],
    ['pause', () => producer.queues.pause('q')],
    ['resume', () => producer.queues.resume('q')],
    ['clear', () => producer.queues.clear('q')],
    ['drain', () => producer.workers.drain('w')],
    ['retry', () => reader.retry(['1'])],
    ['replay', () => reader.replay(['1'])],
    ['queues', () => producer.queues.list()],
    ['workers', () => producer.workers.list()],
  ]
  for (const [name, ask] of denied) await t.rejects(ask(), AccessDenied, name)
  await t.resolves(reader.queues.list())
  await t.resolves(producer.retry(['1']))
  await t.rejects(reader.operations.get('1'), HttpProblem)
})
