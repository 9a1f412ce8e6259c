import t from 'tap'
import { Prefetch } from './prefetch.js'
import { leased } from './scripted-broker.test.given.js'
import { event, given, partsWith } from './worker.test.given.js'

function prefetch(options: { concurrency?: number; most?: number } = {}) {
  const told: number[] = []
  const one: Prefetch = new Prefetch({ concurrency: 2, most: 64, now: () => 0, isWaiting: () => false, shed: () => {}, changed: () => told.push(one.extra), ...options })
  return { told, ended: (count: number, wallMs: number) => Array.from({ length: count }, () => one.ended(wallMs)), extra: () => one.extra }
}

t.test('nothing is asked for in advance before it is known how long runs take', async (t) => {
  t.equal(prefetch().extra(), 0)
})

t.test('what is asked for beyond the slots is what they do in about 50 ms, at most so many', async (t) => {
  for (const [wallMs, extra] of [[0, 64], [0.5, 64], [3, 32], [5, 16], [20, 4], [50, 2], [99, 1], [101, 0], [60_000, 0]] as const) {
    const { ended, told } = prefetch()
    ended(10, wallMs)
    t.same(told, extra === 0 ? [] : [extra], `${wallMs} ms`)
  }
})

t.test('one long run among short ones ends it, until short ones outweigh that', async (t) => {
  const { ended, extra, told } = prefetch()
  ended(50, 1)
  t.equal(extra(), 64)
  ended(1, 5_000)
  t.equal(extra(), 0)
  ended(100, 1)
  t.equal(extra(), 64)
  t.ok(told.length < 10, `the broker was told ${told.length} times`)
})

t.test('times that vary a little change nothing', async (t) => {
  const { ended, told } = prefetch()
  ended(1, 6)
  for (let n = 0; n < 100; n++) ended(1, n % 2 === 0 ? 5 : 8)
  t.same(told, [16])
})

t.test('a worker whose window was set by hand keeps it', async (t) => {
  const { ended, told } = prefetch({ most: 0 })
  ended(100, 1)
  t.same(told, [])
})

/** No window of its own, and a clock that `pass` moves; after a first run that took no time. */
async function quickWorker(t: Parameters<typeof given>[0], concurrency = 1) {
  let at = 1_000
  const { executor, link, ...rest } = await given(t, { concurrency }, { prefetches: true, now: () => at })
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  ;(await executor.started(1)).settle({ outcome: 'ok', output: '1' })
  const subs = await link.expect('subs')
  await link.expect('result')
  link.send({ t: 'result_ok', items: [{ l: 1, disp: 'finalized' }] })
  return { executor, link, subs, pass: (ms: number) => (at += ms), ...rest }
}

/** Runs that a broker sends. */
const runs = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => leased(first + index, 'x'))
/** As they are given back. */
const givenBack = (first: number, last: number) => runs(first, last).map(({ l }) => ({ l, reason: 'overload' }))

t.test('a worker begins with its slots, and asks for more when a run was short', async (t) => {
  const { hello, subs } = await quickWorker(t)
  t.same(hello.subs, [{ queues: ['default'], window: 1 }])
  t.same(subs.items, [{ queues: ['default'], window: 33 }])
})

t.test('what waits behind a run that takes its time is given back uncounted, once the broker was told to send no more', async (t) => {
  const { executor, link, pass } = await quickWorker(t)
  link.send({ t: 'runs', items: runs(2, 4) })
  await link.expect('accept')
  await executor.started(2)
  pass(500)
  t.same((await link.expect('subs')).items, [{ queues: ['default'], window: 1 }])
  t.same((await link.expect('release')).items, givenBack(3, 4))
  ;(await executor.started(2)).settle({ outcome: 'ok', output: '1' })
  t.match((await link.expect('result')).items, [{ l: 2 }])
  await link.beats(1)
  t.equal(executor.executions.length, 2, 'they do not run here')
})

t.test('with many slots, all of them busy for long, nothing is asked for that would only be given back again', async (t) => {
  const { executor, link, pass } = await quickWorker(t, 20)
  link.send({ t: 'runs', items: runs(2, 41) })
  await link.expect('accept')
  await executor.started(21)
  pass(500)
  t.same((await link.expect('subs')).items, [{ queues: ['default'], window: 20 }])
  t.same((await link.expect('release')).items, givenBack(22, 41))
  // For longer than it would take to give something back again.
  for (let n = 0; n < 3; n++) {
    pass(500)
    await link.beats(10)
  }
  t.same(link.unread, [], 'the broker has no room to send them to')
  for (const { settle } of executor.executions) settle({ outcome: 'ok', output: '1' })
  await link.expect('result')
  await link.beats(1)
  t.same(link.unread.filter(({ t }) => t === 'subs'), [], 'nor when long runs have ended')
})

t.test('when runs get longer, what was asked for before goes back from the end, though something ends all the time', async (t) => {
  const { executor, link, pass } = await quickWorker(t)
  link.send({ t: 'runs', items: runs(2, 30) })
  await link.expect('accept')
  const running = await executor.started(2)
  pass(450)
  running.settle({ outcome: 'ok', output: '1' })
  t.same((await link.expect('subs')).items, [{ queues: ['default'], window: 2 }], 'first the broker is told')
  await link.expect('result')
  t.same((await link.expect('release')).items, givenBack(5, 30))
  ;(await executor.started(3)).settle({ outcome: 'ok', output: '1' })
  await executor.started(4)
})

t.test('what waits within the slots, behind code that nobody can stop, is kept: the broker would send it straight back', async (t) => {
  const { executor, link, worker, pass } = await quickWorker(t)
  executor.ignoresStop = true
  link.send({ t: 'runs', items: runs(2, 2) })
  await link.expect('accept')
  await executor.started(2)
  link.answerHeartbeat = ({ n }) => ({ t: 'hb_ack', n, ok: true, lost: [2], cancel: [] })
  await event(worker, 'lease.lost')
  link.send({ t: 'runs', items: runs(3, 3) })
  await link.expect('accept')
  for (let n = 0; n < 2; n++) {
    pass(500)
    await link.beats(12)
  }
  t.same((await link.expect('subs')).items, [{ queues: ['default'], window: 1 }])
  t.same(link.unread, [])
})

t.test('a window set by hand is kept, whatever waits in it', async (t) => {
  const { executor, link } = await given(t, { concurrency: 1, window: 4 })
  link.send({ t: 'runs', items: [1, 2].map((run) => leased(run, 'x')) })
  await link.expect('accept')
  ;(await executor.started(1)).settle({ outcome: 'ok', output: '1' })
  await executor.started(2)
  await link.expect('result')
  link.send({ t: 'runs', items: [leased(3, 'x')] })
  await link.expect('accept')
  // Longer than a worker that adapts would wait.
  await link.beats(15)
  t.same(link.unread, [])
})

t.test('a run that was asked for in advance and is cancelled never starts; a drain gives it back', async (t) => {
  const { executor, link, worker } = await quickWorker(t)
  link.send({ t: 'runs', items: [2, 3, 4].map((run) => leased(run, 'x')) })
  await link.expect('accept')
  const running = await executor.started(2)
  link.send({ t: 'cancel', items: [{ l: 3, mode: 'soft', grace_ms: 0, reason: 'cancelled' }] })
  t.match((await link.expect('result')).items, [{ l: 3, outcome: 'cancelled' }])
  link.send({ t: 'result_ok', items: [{ l: 3, disp: 'finalized' }] })
  const drained = worker.drain()
  await link.expect('drain')
  t.same((await link.expect('release')).items, [{ l: 4, reason: 'shutdown' }])
  running.settle({ outcome: 'ok', output: '1' })
  t.match((await link.expect('result')).items, [{ l: 2, outcome: 'ok' }])
  link.send({ t: 'result_ok', items: [{ l: 2, disp: 'finalized' }] })
  await partsWith(link)
  await drained
  t.equal(executor.executions.length, 2)
})
