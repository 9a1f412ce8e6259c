import t from 'tap'
import { float, remoteTask } from '../../sdk-ts/src/index.js'
import { testBroker } from '../helpers/broker.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'

// What a run may ask for, from the SDK through the broker to the worker and back.

const scale = remoteTask<{ args: number[] }, unknown>('t.scale')

t.test('an equal run is answered with the first, through whichever broker, until that one is over', async (t) => {
  const one = await testBroker(t)
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

t.test('what cannot go together is refused by name', async (t) => {
  const { reproq } = await testBroker(t)
  await t.rejects(reproq.enqueue(scale, { args: [] }, { deduplicate: true, idempotencyKey: 'k' }), { code: 'INVALID_REQUEST', message: /both deduplicate and an idempotency_key/ })
  await t.rejects(reproq.enqueue(scale, { args: [] }, { deduplicate: true, delay: 5 }), { code: 'INVALID_REQUEST', message: /both deduplicate and delay_ms/ })
})
