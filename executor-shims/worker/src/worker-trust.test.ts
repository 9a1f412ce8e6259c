import t from 'tap'
import { leased, SHORT_TERMS, verdict } from './scripted-broker.test.given.js'
import { event, given } from './worker.test.given.js'

const short = { terms: SHORT_TERMS }

/** A clock that runs as usual and can be pushed forward, as it seems to a process that was stopped for a while. */
function jumpingClock() {
  let jumpedMs = 0
  return { now: () => performance.now() + jumpedMs, jump: (ms: number) => (jumpedMs += ms) }
}

t.test('while the broker cannot write heartbeats down the runs go on, until the deadline stops them', async (t) => {
  const { executor, link, worker } = await given(t, { concurrency: 1 }, short)
  link.send({ t: 'runs', items: [leased(1, 'x', { cancel_grace_ms: 50 }), leased(2, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  const renewedAt = performance.now()
  link.answerHeartbeat = ({ n }) => ({ t: 'hb_ack', n, ok: false, lost: [], cancel: [] })
  t.match(await event(worker, 'trust.lost'), { runs: 1 })
  const passed = performance.now() - renewedAt
  t.ok(passed > 300, `lease_ms − safety_ms after the last renewal: ${passed}`)
  t.match(await executor.told(attempt), { reason: 'lost_lease', hard: false })
  t.same((await link.expect('release')).items, [{ l: 1, reason: 'preempted' }], 'given back uncounted')
  await link.beats(2)
  t.equal(executor.executions.length, 1, 'nothing starts')
  t.same(link.heartbeats.at(-1)?.held, [2], 'heartbeats go on')
})

t.test('when the broker confirms again, what waited starts', async (t) => {
  const { executor, link, worker } = await given(t, { concurrency: 1 }, short)
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x')] })
  await link.expect('accept')
  await executor.started(1)
  const confirm = link.answerHeartbeat
  link.answerHeartbeat = ({ n }) => ({ t: 'hb_ack', n, ok: false, lost: [], cancel: [] })
  await event(worker, 'trust.lost')
  await link.expect('release')
  const regained = event(worker, 'trust.regained')
  link.answerHeartbeat = confirm
  await regained
  t.equal((await executor.started(2)).assignment.run, '2')
})

t.test('a success that was made beyond the deadline waits for the verdict of the next broker', async (t) => {
  const { broker, executor, link, worker } = await given(t, {}, short)
  executor.ignoresStop = true
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x')] })
  await link.expect('accept')
  await executor.started(2)
  link.answerHeartbeat = ({ n }) => ({ t: 'hb_ack', n, ok: false, lost: [], cancel: [] })
  await event(worker, 'trust.lost')
  for (const { settle } of executor.executions) settle({ outcome: 'ok', output: '1' })
  await link.beats(2)
  t.same(link.unread, [], 'not sent while nobody confirms the lease')
  link.cut()
  const next = await broker.connection()
  await next.greet({ resumed: false, verdicts: [verdict(1, 'keep', 1), verdict(2, 'lost')] })
  t.match((await next.expect('result')).items, [{ l: 1, outcome: 'ok' }])
  await next.beats(2)
  t.same(next.unread, [], 'the lost one is never sent')
})

t.test('a dropped link brings the deadline to reconnect_ms', async (t) => {
  const { broker, executor, link, worker } = await given(t, {}, { terms: { ...SHORT_TERMS, lease_ms: 60_000 } })
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  broker.refusals.push(...Array.from({ length: 20 }, () => ({ status: 503, headers: { 'retry-after': '60' } })))
  const dropped = event(worker, 'disconnected')
  link.cut()
  await dropped
  const droppedAt = performance.now()
  t.match(await executor.told(attempt), { reason: 'lost_lease', hard: true }, 'its grace is longer than the safety margin')
  const passed = performance.now() - droppedAt
  t.ok(passed > 150 && passed < 5_000, `${passed} ms`)
})

t.test('a process that was stopped beyond the deadline knows it before it sends anything', async (t) => {
  const clock = jumpingClock()
  const { executor, link, worker } = await given(t, {}, { ...short, now: clock.now })
  executor.ignoresStop = true
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  link.answerHeartbeat = () => undefined
  // Stopped here: by its timers nothing has happened, by the clock the lease is long over.
  const lost = event(worker, 'trust.lost')
  clock.jump(10_000)
  attempt.settle({ outcome: 'ok', output: '1' })
  t.match(await lost, { runs: 0 })
  await link.beats(1)
  t.same(link.unread, [], 'the success is not sent')
})

t.test('a run that arrives after the deadline does not start', async (t) => {
  const clock = jumpingClock()
  const { executor, link, worker } = await given(t, {}, { ...short, now: clock.now })
  link.answerHeartbeat = () => undefined
  const lost = event(worker, 'trust.lost')
  clock.jump(10_000)
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await lost
  await link.expect('accept')
  await link.beats(1)
  t.equal(executor.executions.length, 0)
  t.same(link.heartbeats.at(-1)?.held, [1])
})
