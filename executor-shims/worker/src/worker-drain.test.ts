import t from 'tap'
import { leased } from './scripted-broker.test.given.js'
import { event, given, partsWith } from './worker.test.given.js'

t.test('a drain gives back what waits, finishes what runs, and leaves when its result is stored', async (t) => {
  const { executor, link, worker } = await given(t, { concurrency: 1 })
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  const drained = worker.drain()
  await link.expect('drain')
  t.same((await link.expect('release')).items, [{ l: 2, reason: 'shutdown' }])
  await link.beats(2)
  t.same(link.heartbeats.at(-1)?.held, [1], 'the other one goes on')
  attempt.settle({ outcome: 'ok', output: '1' })
  await link.expect('result')
  await link.beats(2)
  t.same(link.unread, [], 'no goodbye before the result is stored')
  link.send({ t: 'result_ok', items: [{ l: 1, disp: 'finalized' }] })
  await partsWith(link)
  await drained
  await worker.closed()
})

t.test('what arrives while it drains goes back at once', async (t) => {
  const { executor, link, worker } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  await executor.started(1)
  void worker.drain()
  await link.expect('drain')
  link.send({ t: 'runs', items: [leased(2, 'x')] })
  await link.expect('accept')
  t.same((await link.expect('release')).items, [{ l: 2, reason: 'shutdown' }])
  t.equal(executor.executions.length, 1)
})

t.test('when the time of a drain is over, what still runs is stopped softly and given back uncounted', async (t) => {
  const { executor, link, worker } = await given(t, { drainMs: 100 })
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  const drained = worker.drain()
  await link.expect('drain')
  t.match(await executor.told(attempt), { reason: 'shutdown', hard: false })
  t.same((await link.expect('release')).items, [{ l: 1, reason: 'shutdown' }])
  await partsWith(link)
  await drained
})

t.test('code that ignores the stop is killed after its grace', async (t) => {
  const { executor, link, worker } = await given(t, { drainMs: 1 })
  executor.ignoresStop = true
  link.send({ t: 'runs', items: [leased(1, 'x', { cancel_grace_ms: 0 })] })
  await link.expect('accept')
  await executor.started(1)
  const drained = worker.drain()
  await link.expect('drain')
  t.same((await link.expect('release')).items, [{ l: 1, reason: 'shutdown' }])
  await partsWith(link)
  await drained
  t.ok(executor.stopped > 0)
})

t.test('a stop kills what runs at once, gives it back and leaves, even in the middle of a drain', async (t) => {
  const { executor, link, worker } = await given(t)
  executor.ignoresStop = true
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  const drained = worker.drain()
  await link.expect('drain')
  t.equal(attempt.signal.aborted, false)
  const startedAt = performance.now()
  const stopped = worker.stop()
  t.match(await executor.told(attempt), { reason: 'shutdown', hard: true })
  t.same((await link.expect('release')).items, [{ l: 1, reason: 'shutdown' }])
  await partsWith(link)
  await Promise.all([drained, stopped])
  t.ok(performance.now() - startedAt < 3_000)
})

t.test('a drain ends although the broker says no goodbye', async (t) => {
  const { link, worker } = await given(t)
  const stopped = worker.stop()
  await link.expect('drain')
  await link.expect('bye')
  await stopped
  await link.closed()
})

t.test('a worker that was disposed of has left', async (t) => {
  const { link, worker } = await given(t)
  const disposed = worker[Symbol.asyncDispose]()
  await link.expect('drain')
  await partsWith(link)
  await disposed
  await worker.closed()
})

t.test('a drain survives a dropped link: it goes on draining on the next one', async (t) => {
  const { broker, executor, link, worker } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  const drained = worker.drain()
  await link.expect('drain')
  const dropped = event(worker, 'disconnected')
  link.cut()
  await dropped
  const next = await broker.connection()
  const hello = await next.greet({ resumed: true, verdicts: [{ run: '1', lease: leased(1, 'x').lease, verdict: 'keep', l: 5 }] })
  t.same(hello.subs, [{ queues: ['default'], window: 0 }])
  await next.expect('drain')
  attempt.settle({ outcome: 'ok', output: '1' })
  t.match((await next.expect('result')).items, [{ l: 5, outcome: 'ok' }])
  next.send({ t: 'result_ok', items: [{ l: 5, disp: 'finalized' }] })
  await partsWith(next)
  await drained
})
