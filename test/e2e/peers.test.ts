import t from 'tap'
import { remoteTask } from '../../sdk-ts/src/index.js'
import type { LeasedRun } from '../../protocol/src/index.js'
import { testBroker, type TestBroker } from '../helpers/broker.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

/** The scripted worker sends no heartbeats; a look comes too late to help. */
const KNOBS = { lookMs: 60_000, heartbeatMs: 60_000, leaseMs: 600_000 }

const task = remoteTask<{ args: unknown[] }, unknown>('t.echo')

for (const order of ['the first', 'the second'] as const) {
  t.test(`a run enqueued at ${order} of two brokers reaches a worker of the other at once, not at its next look`, async (t) => {
    const first = await testBroker(t, KNOBS)
    const second = await testBroker(t, KNOBS, first.database)
    const [at, other] = order === 'the first' ? [first, second] : [second, first]
    const worker = await ScriptedWorker.hello(t, other.url, other.token)
    await brokersKnowEachOther(at, worker)

    const run = await at.reproq.enqueue(task, { args: [] })
    const [{ l, run: leased }] = (await worker.next('runs')).items as [LeasedRun]
    t.equal(leased, run.id)
    worker.send({ t: 'release', items: [{ l, reason: 'overload', delay_ms: 300 }] })
    const later = await at.reproq.enqueue(task, { args: [] }, { delay: 400 })
    t.match((await worker.next('runs')).items, [{ run: run.id }], 'given back, and due again')
    t.match((await worker.next('runs')).items, [{ run: later.id }], 'scheduled there, due here')
  })
}

/** They greet each other when they start; a run that reaches the other side says that they have. */
async function brokersKnowEachOther(at: TestBroker, worker: ScriptedWorker): Promise<void> {
  const enqueued = new Set<string>()
  const settled = new Set<string>()
  await until('a run reaches the other broker', async () => {
    if (settled.size === 0) enqueued.add((await at.reproq.enqueue(task, { args: ['probe'] })).id)
    for (const frame of worker.received) {
      if (frame.t !== 'runs') continue
      const fresh = frame.items.filter(({ run }) => !settled.has(run))
      for (const { run } of fresh) settled.add(run)
      if (fresh.length > 0) worker.send({ t: 'result', items: fresh.map(({ l }) => ({ l, outcome: 'ok', output: 'null' })) })
    }
    return settled.size === enqueued.size
  })
  await until('their frames are read', async () => (await worker.next('result_ok', 100).catch(() => undefined)) === undefined)
}
