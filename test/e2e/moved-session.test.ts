import t from 'tap'
import { remoteTask } from '../../sdk-ts/src/index.js'
import { testBroker } from '../helpers/broker.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

const task = remoteTask<{ args: unknown[] }, unknown>('t.echo')

t.test('a broker whose worker has moved to another broker takes nothing from it, though the old socket still looks alive', async (t) => {
  const knobs = { lookMs: 100, heartbeatMs: 60_000, leaseMs: 600_000 }
  const first = await testBroker(t, knobs)
  const second = await testBroker(t, knobs, first.database)
  const old = await ScriptedWorker.hello(t, first.url, first.token)
  const { session, key } = old.welcome
  const worker = await ScriptedWorker.hello(t, second.url, second.token, { resume: { session, key } })
  t.equal(worker.welcome.resumed, true)

  const run = await second.reproq.enqueue(task, { args: [] })
  const [item] = (await worker.next('runs')).items
  worker.send({ t: 'accept', l: [item?.l] })
  await looks(first.database.pool, 8)

  t.match(await run.get(), { status: 'RUNNING', attempts: 1 })
  worker.send({ t: 'result', items: [{ l: item?.l, outcome: 'ok', output: '"mine"' }] })
  t.match((await worker.next('result_ok')).items, [{ disp: 'finalized' }])
  t.equal(await run.result({ timeout: '5s' }), 'mine')
})

/** Waits until the brokers have looked that often: each look pings. */
async function looks(pool: import('pg').Pool, count: number): Promise<void> {
  const listener = await pool.connect()
  let heard = 0
  listener.on('notification', () => heard++)
  await listener.query('LISTEN reproq_ping')
  await until(`${count} looks`, () => heard >= count)
  listener.release(true)
}
