import t from 'tap'
import type { LeasedRun } from '../../protocol/src/index.js'
import { float, remoteTask } from '../../sdk-ts/src/index.js'
import { testBroker } from '../helpers/broker.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

// What a run may ask for, from the SDK through the broker to the worker and back.

const scale = remoteTask<{ args: number[] }, unknown>('t.scale')

t.test('an equal run is answered with the first, through whichever broker, until that one is over', async (t) => {
  const one = await testBroker(t, { heartbeatMs: 60_000, leaseMs: 600_000 })
  const other = await testBroker(t, {}, one.database)
  const brokers = [one, other]

  const asked = await Promise.all(Array.from({ length: 20 }, (_, at) => brokers[at % 2]?.reproq.enqueue(scale, { args: [float(2)] }, { deduplicate: true })))
  t.equal(new Set(asked.map((run) => run?.id)).size, 1)
  t.equal(asked.filter((run) => run?.deduplicated === false).length, 1)
  const whole = await one.reproq.enqueue(scale, { args: [2] }, { deduplicate: true })
  t.equal(whole.deduplicated, false, '2 is not 2.0')
  await one.reproq.cancel(whole.id)

  const worker = await ScriptedWorker.hello(t, one.url, one.token)
  const { items } = await worker.next('runs')
  t.match(items, [{ run: asked[0]?.id, spec: /"args": \[2\.0\]/ }])
  t.match(await other.reproq.enqueue(scale, { args: [float(2)] }, { deduplicate: true }), { id: asked[0]?.id, deduplicated: true }, 'while it runs')
  worker.send({ t: 'result', items: [{ l: items[0]?.l, outcome: 'ok', output: '4.0' }] })
  t.equal(await asked[0]?.result({ timeout: '5s' }), 4)
  t.match(await other.reproq.enqueue(scale, { args: [float(2)] }, { deduplicate: true }), { deduplicated: false }, 'when it is over')
})

t.test("Reproq's rule is a setting: equal runs are one unless they say otherwise", async (t) => {
  const { reproq } = await testBroker(t, { deduplicate: 'on' })
  const [first, second, off, keyed, later] = [
    await reproq.enqueue(scale, { args: [1] }),
    await reproq.enqueue(scale, { args: [1] }),
    await reproq.enqueue(scale, { args: [1] }, { deduplicate: false }),
    await reproq.enqueue(scale, { args: [1] }, { idempotencyKey: 'k' }),
    await reproq.enqueue(scale, { args: [1] }, { delay: '1h' }),
  ]
  t.match(second, { id: first.id, deduplicated: true })
  for (const run of [off, keyed, later]) t.equal(run.deduplicated, false)
  t.match(await reproq.enqueueMany(scale, [{ input: { args: [1] } }, { input: { args: [9] } }]), [{ id: first.id, deduplicated: true }, { deduplicated: false }])
})

t.test('in a database of the Go schema, which allows one active run per hash, off makes two and no error', async (t) => {
  const { reproq, database } = await testBroker(t)
  await database.pool.query("CREATE UNIQUE INDEX idx_task_runs_spec_unique ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING')")
  const runs = await Promise.all(Array.from({ length: 10 }, () => reproq.enqueue(scale, { args: [1] })))
  t.equal(new Set(runs.map(({ id }) => id)).size, 10)
  const alone = await Promise.all(Array.from({ length: 10 }, () => reproq.enqueue(scale, { args: [1] }, { deduplicate: true })))
  t.equal(new Set(alone.map(({ id }) => id)).size, 1)
  t.ok(runs.some(({ id }) => id === alone[0]?.id), 'the one that has the hash')
})

t.test('a run that expired and that the enqueue of an equal one ends is told to all brokers, not left to be looked for', async (t) => {
  const { reproq, broker, database } = await testBroker(t)
  const { broker: other } = await testBroker(t, {}, database)
  await database.pool.query("CREATE UNIQUE INDEX idx_task_runs_spec_unique ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING')")
  const heard = new Set<string>()
  for (const [name, { events }] of Object.entries({ broker, other })) events.on('run.settled', ({ runId, queue, task, status, cause }) => heard.add([name, runId, queue, task, status, cause].join(' ')))
  const first = await reproq.enqueue(scale, { args: [1] }, { deduplicate: true, expiresIn: '1h' })
  // Without its entry, so that no timer of a broker is first.
  await database.pool.query(`BEGIN; UPDATE task_runs SET expires_at = now() - interval '1 s'; DELETE FROM reproq_expiring; COMMIT`)
  t.match(await reproq.enqueue(scale, { args: [1] }, { deduplicate: true, expiresIn: '1h' }), { deduplicated: false })
  await until('both brokers have told of it', () => heard.size === 2)
  t.strictSame([...heard].toSorted(), ['broker', 'other'].map((name) => `${name} ${first.id} default ${scale.name} CANCELLED expired`))
})

t.test('what cannot go together is refused by name', async (t) => {
  const { reproq } = await testBroker(t)
  await t.rejects(reproq.enqueue(scale, { args: [] }, { deduplicate: true, idempotencyKey: 'k' }), { code: 'INVALID_REQUEST', message: /both deduplicate and an idempotency_key/ })
  await t.rejects(reproq.enqueue(scale, { args: [] }, { deduplicate: true, delay: 5 }), { code: 'INVALID_REQUEST', message: /both deduplicate and delay_ms/ })
})

t.test('a run is tried again by its own policy, however its result comes', async (t) => {
  const { reproq, url, token } = await testBroker(t, { retryBaseMs: 60_000, retryCapMs: 60_000, reconnectMs: 5_000, heartbeatMs: 60_000, leaseMs: 600_000 })
  const retry = { backoff: [0, 0, 0, '1h'], jitter: 0, nonRetryable: ['CardDeclined'] }
  const run = await reproq.enqueue(scale, { args: [1] }, { retry, maxAttempts: 9 })
  let worker = await ScriptedWorker.hello(t, url, token)
  const leased = async () => (await worker.next('runs')).items[0] as LeasedRun
  const failure = { outcome: 'error', error: { class: 'Boom', message: '' } }

  const first = await leased()
  worker.send({ t: 'result', items: [{ l: first.l, ...failure }] })
  t.match((await worker.next('result_ok')).items, [{ disp: 'retry_scheduled', delay_ms: 0 }], 'over the link it was leased on')

  const second = await leased()
  worker.drop()
  worker = await ScriptedWorker.hello(t, url, token, { held: [{ run: run.id, lease: second.lease, state: 'running' }] })
  worker.send({ t: 'result', items: [{ l: 1, ...failure }] })
  t.match((await worker.next('result_ok')).items, [{ disp: 'retry_scheduled', delay_ms: 0 }], 'over another link')

  const third = await leased()
  const answer = await fetch(`${url}/v1/worker/results`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify({ items: [{ run: run.id, lease: third.lease, ...failure }] }) })
  t.match(await answer.json(), { items: [{ disp: 'retry_scheduled' }] })
  const fourth = await leased()
  t.equal(fourth.attempt, 4, 'over HTTP')
  worker.send({ t: 'result', items: [{ l: fourth.l, ...failure }] })
  t.match((await worker.next('result_ok')).items, [{ disp: 'retry_scheduled', delay_ms: 3_600_000 }])

  const gated = await reproq.enqueue(scale, { args: [2] }, { retry, lockKey: 'l' })
  const fifth = await leased()
  t.equal(fifth.run, gated.id)
  worker.send({ t: 'result', items: [{ l: fifth.l, outcome: 'error', error: { class: 'shop.CardDeclined', message: 'no' } }] })
  t.match((await worker.next('result_ok')).items, [{ disp: 'finalized' }], 'an error it gives up at, of a run that was leased through the gate')
  t.match(await reproq.get(gated.id), { status: 'FAILED', attempts: 1, lock_key: 'l', retry: { delays_ms: [0, 0, 0, 3_600_000], jitter: 0, non_retryable: ['CardDeclined'] } })
})

t.test('a task may ask to be started later, and its whole queue with it, at whichever broker', async (t) => {
  // The scripted workers send no heartbeats; a look comes too late to help.
  const knobs = { lookMs: 60_000, heartbeatMs: 60_000, leaseMs: 600_000 }
  const one = await testBroker(t, knobs)
  const other = await testBroker(t, knobs, one.database)
  const worker = await ScriptedWorker.hello(t, one.url, one.token, { subs: [{ queues: ['default'], window: 1 }] })
  const elsewhere = await ScriptedWorker.hello(t, other.url, other.token, { instance: 'two', subs: [{ queues: ['aside'], window: 1 }] })

  const run = await one.reproq.enqueue(scale, { args: [1] })
  const [first] = (await worker.next('runs')).items as [LeasedRun]
  worker.send({ t: 'result', items: [{ l: first.l, outcome: 'postponed', retry_after_ms: 800, hold_queue: true }] })
  t.match((await worker.next('result_ok')).items, [{ disp: 'retry_scheduled', delay_ms: 800 }])
  const heldUntil = (await one.database.pool.query('SELECT reproq_held_until AS at FROM reproq_queue_controls')).rows[0].at as Date

  t.match(
    (await other.reproq.queues.list()).filter(({ name }) => name === 'default'),
    [{ paused: false, held_until: heldUntil.toISOString() }],
  )
  elsewhere.send({ t: 'subs', v: 2, items: [{ queues: ['default'], window: 5 }] })
  const waiting = await Promise.all(Array.from({ length: 3 }, (_, at) => other.reproq.enqueue(scale, { args: [at] })))
  // So that only the end of the hold can wake the other broker, which was told of it.
  t.match(await one.reproq.cancel(run.id), { status: 'cancelled' })
  await one.broker.stop({ drainMs: 0 })
  const started = new Set<string>()
  while (started.size < 3) for (const item of (await elsewhere.next('runs')).items) started.add(item.run)
  t.strictSame([...started].toSorted(), waiting.map(({ id }) => id).toSorted())
  const { rows } = await one.database.pool.query('SELECT result_id::text AS id, attempts, last_attempted_at >= $1 AS later FROM task_runs WHERE result_id > $2 ORDER BY result_id', [heldUntil, run.id])
  t.strictSame(rows, waiting.map(({ id }) => ({ id, attempts: 1, later: true })), 'none before that moment')
  t.match(await other.reproq.get(run.id), { attempts: 0, errors: [] }, 'it was no failure, and cost no attempt')
})

t.test('a run that nobody started in time is over in time, though no worker exists, and says so', async (t) => {
  const { reproq, database } = await testBroker(t, { lookMs: 60_000 })
  const hour = await reproq.enqueue(scale, { args: [0] }, { expiresIn: '1h' })
  const run = await reproq.enqueue(scale, { args: [1] }, { expiresIn: 300 })
  const ordinary = await reproq.enqueue(scale, { args: [2] })
  await t.rejects(run.result({ timeout: '5s' }), { name: 'TaskCancelled', message: /Not started before it expired at \d{4}.*; now it is/, run: { status: 'CANCELLED', attempts: 0, errors: [{ kind: 'expired' }] } })
  const { rows } = await database.pool.query<{ id: string }>("INSERT INTO task_runs (spec_json, spec_hash, task_path, expires_at) VALUES ('{}', 'x', 'app.task', now() + interval '300 ms') RETURNING result_id::text AS id")
  await t.rejects(reproq.handle(rows[0]?.id as string).result({ timeout: '5s' }), { name: 'TaskCancelled' }, 'a row that Django writes too')
  for (const { id } of [hour, ordinary]) t.match(await reproq.get(id), { status: 'READY' })
})
