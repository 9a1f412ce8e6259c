import t from 'tap'
import { leased, leaseId } from './scripted-broker.test.given.js'
import { given, partsWith } from './worker.test.given.js'

t.test('a run is accepted, run and answered, and is held until the broker has stored the result', async (t) => {
  const { executor, link, hello, worker } = await given(t, { token: 'secret-token', queues: ['mail', 'reports'] })
  t.equal(link.request.headers.authorization, 'Bearer secret-token')
  t.match(hello, { worker: 'given', subs: [{ queues: ['mail', 'reports'], window: 4 }], held: [], concurrency: 2, pid: process.pid })
  t.notOk(hello.resume)

  link.send({ t: 'runs', items: [leased(1, 'shop.pay', { spec: '{"args":[12345678901234567890]}' })] })
  t.same((await link.expect('accept')).l, [1])
  const attempt = await executor.started(1)
  t.match(attempt.assignment, { run: '1', lease: leaseId(1), task: 'shop.pay', spec: '{"args":[12345678901234567890]}' })
  attempt.settle({ outcome: 'ok', output: '{"paid":true}' })

  const { items } = await link.expect('result')
  t.match(items, [{ l: 1, outcome: 'ok', output: '{"paid":true}', wall_ms: Number }])
  await link.beats(2)
  t.same(link.heartbeats.at(-1)?.held, [1], 'still held')
  link.send({ t: 'result_ok', items: [{ l: 1, disp: 'finalized' }] })
  await link.beats(2)
  t.same(link.heartbeats.at(-1)?.held, [], 'confirmed')

  const drained = worker.drain()
  t.ok((await link.expect('drain')).deadline_ms <= 4_000)
  await partsWith(link)
  await drained
  t.equal(executor.stopped, 1, 'its executors are stopped')
})
