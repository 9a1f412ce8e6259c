import t from 'tap'
import { remoteTask } from '../../sdk-ts/src/index.js'
import { testBroker } from '../helpers/broker.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

const echo = remoteTask<{ args: unknown[] }, unknown>('t.echo')

t.test('a run enqueued by the SDK is leased, settled once, and its result given back', async (t) => {
  const { reproq, url, token, database } = await testBroker(t)
  const worker = await ScriptedWorker.hello(t, url, token)

  const run = await reproq.enqueue(echo, { args: [1] })
  const { items } = await worker.next('runs')
  t.match(items, [{ run: run.id, task: 't.echo', attempt: 1, max_attempts: 3 }])
  worker.send({ t: 'accept', l: [1] })
  worker.send({ t: 'result', items: [{ l: 1, outcome: 'ok', output: '{"answer":12345678901234567890}' }] })
  t.match((await worker.next('result_ok')).items, [{ l: 1, disp: 'finalized' }])

  const { rows } = await database.pool.query('SELECT status, attempts, return_json::text AS output, leased_by, worker_ids FROM task_runs')
  t.strictSame(rows, [{ status: 'SUCCESSFUL', attempts: 1, output: '{"answer": 12345678901234567890}', leased_by: null, worker_ids: ['scripted#one'] }])
  t.strictSame((await database.pool.query('SELECT * FROM reproq_leases')).rows, [], 'nothing is leased any more')
  await run.result({ timeout: '5s' })
})

t.test('rows that others write wake the broker: Django, psql, a transaction that commits later', async (t) => {
  const { url, token, database, broker } = await testBroker(t, { lookMs: 60_000 })
  const worker = await ScriptedWorker.hello(t, url, token)

  await database.pool.query(`INSERT INTO task_runs (backend_alias, queue_name, priority, spec_json, spec_hash, status, enqueued_at) VALUES ('default', 'default', 0, '{"task_path":"app.tasks.add","args":[1,2],"kwargs":{}}', 'x', 'READY', now())`)
  t.match((await worker.next('runs')).items, [{ task: 'app.tasks.add' }], 'a plain insert, as Django makes it')

  const client = await database.pool.connect()
  await client.query('BEGIN')
  await client.query(`SELECT reproq_enqueue('app.tasks.later', args => '[1]')`)
  const nothing = await client.query('SELECT 1')
  t.equal(nothing.rowCount, 1)
  t.equal(worker.received.filter((frame) => frame.t === 'runs').length, 1, 'not before the commit')
  await client.query('COMMIT')
  client.release()
  t.match((await worker.next('runs')).items, [{ task: 'app.tasks.later' }], 'enqueued inside a transaction')

  await database.pool.query(`SELECT reproq_enqueue('app.tasks.timed', run_after => now() + interval '300 ms')`)
  const started = performance.now()
  t.match((await worker.next('runs')).items, [{ task: 'app.tasks.timed' }], 'due by a timer, not by a look')
  t.ok(performance.now() - started > 150, 'and not early')
  t.ok(broker)
})

t.test('a failed attempt is tried again with backoff until max_attempts, whatever the kind of failure', async (t) => {
  const { reproq, url, token } = await testBroker(t)
  const worker = await ScriptedWorker.hello(t, url, token)
  const run = await reproq.enqueue(echo, { args: [] }, { maxAttempts: 3 })
  const outcomes = ['error', 'timeout', 'crashed'] as const
  for (const [index, outcome] of outcomes.entries()) {
    const { items } = await worker.next('runs')
    t.equal(items[0]?.attempt, index + 1)
    worker.send({ t: 'result', items: [{ l: items[0]?.l, outcome, error: { class: 'Boom', message: `number ${index}` } }] })
    const answer = await worker.next('result_ok')
    t.equal(answer.items[0]?.disp, index < 2 ? 'retry_scheduled' : 'finalized')
  }
  const { status, errors, last_error: lastError } = await run.get()
  t.equal(status, 'FAILED')
  t.strictSame(errors.map(({ kind }) => kind), ['app_error', 'timeout', 'crashed'])
  t.equal(lastError, 'Boom: number 2')
})

t.test('an idempotency key makes one run, also for twins in one request and in SQL', async (t) => {
  const { reproq, database } = await testBroker(t)
  const options = { idempotencyKey: 'once' }
  const many = await Promise.all(Array.from({ length: 20 }, () => reproq.enqueue(echo, { args: [] }, options)))
  t.equal(new Set(many.map(({ id }) => id)).size, 1)
  t.equal(many.filter(({ deduplicated }) => !deduplicated).length, 1)
  const { rows } = await database.pool.query(`SELECT result_id::text AS id, deduplicated FROM reproq_enqueue('t.echo', idempotency_key => 'once')`)
  t.strictSame(rows, [{ id: many[0]?.id, deduplicated: true }])
  t.equal((await reproq.enqueue(remoteTask('t.other'), {} as never, options)).deduplicated, false, 'a key is one of its task')
})

t.test('a cancel ends a waiting run at once and reaches a running one', async (t) => {
  const { reproq, url, token } = await testBroker(t)
  const waiting = await reproq.enqueue(echo, { args: [] }, { delay: '1h' })
  t.match(await waiting.cancel(), { status: 'cancelled' })
  t.equal((await waiting.get()).status, 'CANCELLED')
  t.match(await waiting.cancel(), { status: 'already_final' })

  const worker = await ScriptedWorker.hello(t, url, token)
  const running = await reproq.enqueue(echo, { args: [] })
  const { items } = await worker.next('runs')
  worker.send({ t: 'accept', l: [items[0]?.l] })
  t.match(await running.cancel(), { status: 'cancelling' })
  t.match((await worker.next('cancel')).items, [{ l: items[0]?.l, mode: 'soft', reason: 'cancelled' }])
  worker.send({ t: 'hb', n: 1, held: [items[0]?.l] })
  t.match((await worker.next('hb_ack')).cancel, [{ l: items[0]?.l }], 'said again until it is answered')
  worker.send({ t: 'result', items: [{ l: items[0]?.l, outcome: 'cancelled' }] })
  await worker.next('result_ok')
  t.equal((await until('CANCELLED', async () => (await running.get()).status === 'CANCELLED' && 'CANCELLED')), 'CANCELLED')
})
