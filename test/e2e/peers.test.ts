import t from 'tap'
import { remoteTask } from '../../sdk-ts/src/index.js'
import { testBroker } from '../helpers/broker.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'

/** The scripted worker sends no heartbeats; a look comes too late to help. */
const KNOBS = { lookMs: 60_000, heartbeatMs: 60_000, leaseMs: 600_000 }

const task = remoteTask<{ args: unknown[] }, unknown>('t.echo')

for (const order of ['the first', 'the second'] as const) {
  t.test(`a run enqueued at ${order} of two brokers reaches a worker of the other at once, not at its next look`, async (t) => {
    const first = await testBroker(t, KNOBS)
    const second = await testBroker(t, KNOBS, first.database)
    const [at, other] = order === 'the first' ? [first, second] : [second, first]
    const worker = await ScriptedWorker.hello(t, other.url, other.token)

    const run = await at.reproq.enqueue(task, { args: [] })
    t.match((await worker.next('runs')).items, [{ run: run.id }])
    worker.send({ t: 'release', items: [{ l: 1, reason: 'overload', delay_ms: 300 }] })
    const later = await at.reproq.enqueue(task, { args: [] }, { delay: 400 })
    t.match((await worker.next('runs')).items, [{ run: run.id }], 'given back, and due again')
    t.match((await worker.next('runs')).items, [{ run: later.id }], 'scheduled there, due here')
  })
}
