import t, { type Test } from 'tap'
import { leased, verdict } from './scripted-broker.test.given.js'
import { given as anyWorker } from './worker.test.given.js'

async function given(t: Test, timeoutMs = 60_000, caps = ['resume', 'extend']) {
  const parts = await anyWorker(t, {}, { caps })
  parts.link.send({ t: 'runs', items: [leased(1, 'x', { timeout_ms: timeoutMs })] })
  await parts.link.expect('accept')
  const execution = await parts.executor.started(1)
  const extend = (ms: number) => (execution.voice?.extend as (timeoutMs: number) => Promise<number>)(ms)
  return { ...parts, execution, extend }
}

t.test('what is granted moves the limit of the run, and is told to the code', async (t) => {
  const { link, execution, extend } = await given(t, 300)
  const asked = extend(60_000)
  t.match((await link.expect('extend')).items, [{ l: 1, timeout_ms: 60_000 }])
  link.send({ t: 'extended', items: [{ l: 1, timeout_ms: 50_000 }] })
  t.equal(await asked, 50_000)
  // Longer than the limit it had.
  await link.beats(10)
  t.equal(execution.signal.aborted, false)

  const shortened = extend(20)
  await link.expect('extend')
  link.send({ t: 'extended', items: [{ l: 1, timeout_ms: 20 }] })
  await shortened
  const { items } = await link.expect('result')
  t.match(items, [{ l: 1, outcome: 'cancelled' }])
  t.match(execution.stop, { reason: 'timeout', grantedMs: 20 })
})

t.test('a run that is not answered is stopped at the limit it has', async (t) => {
  const { link, execution, extend } = await given(t, 200)
  const asked = t.rejects(extend(60_000), { code: 'EXTEND_REFUSED', reason: 'stopping' })
  await link.expect('extend')
  await link.expect('result')
  await asked
  t.match(execution.stop, { reason: 'timeout' })
  link.send({ t: 'extended', items: [{ l: 1, timeout_ms: 1_000 }] })
  await link.beats(1)
})

t.test('of one run one question is under way at a time; a refusal is an error that says why, and the limit stands', async (t) => {
  const { link, execution, extend } = await given(t)
  const first = extend(1_000)
  const second = t.rejects(extend(2_000), { name: 'ExtendRefused', reason: 'maximum_reached', message: /run 1.*longest time/, hint: /REPROQ_MAX_TIMEOUT_MS/ })
  await link.expect('extend')
  await link.beats(2)
  t.same(link.unread, [])
  link.send({ t: 'extended', items: [{ l: 1, timeout_ms: 60_000 }] })
  t.equal(await first, 60_000)
  t.match((await link.expect('extend')).items, [{ timeout_ms: 2_000 }])
  link.send({ t: 'extended', items: [{ l: 1, code: 'maximum_reached' }] })
  await second
  t.equal(execution.signal.aborted, false)
})

t.test('what is not answered is asked again: after a moment when the database is away, and on the next link', async (t) => {
  const { broker, link, extend } = await given(t)
  const asked = extend(5_000)
  await link.expect('extend')
  link.send({ t: 'extended', items: [{ l: 1, code: 'temporary', retry_after_ms: 10 }] })
  await link.expect('extend')
  link.cut()
  const next = await broker.connection()
  await next.greet({ caps: ['resume', 'extend'], resumed: true, verdicts: [verdict(1, 'keep', 9)] })
  t.match((await next.expect('extend')).items, [{ l: 9, timeout_ms: 5_000 }])
  next.send({ t: 'extended', items: [{ l: 9, timeout_ms: 5_000 }] })
  t.equal(await asked, 5_000)
})

t.test('a lost lease, and a broker that cannot, are said at once', async (t) => {
  const { broker, link, extend } = await given(t)
  const asked = t.rejects(extend(5_000), { name: 'ExtendRefused', reason: 'stale_lease' })
  await link.expect('extend')
  link.cut()
  const next = await broker.connection()
  await next.greet({ caps: ['resume', 'extend'], resumed: true, verdicts: [verdict(1, 'lost')] })
  await asked
  await t.rejects(extend(5_000), { name: 'ExtendRefused' })

  const old = await given(t, 60_000, ['resume'])
  await t.rejects(old.extend(5_000), { name: 'ExtendRefused', reason: 'unsupported', hint: /Upgrade/ })
  t.same(old.link.unread, [])
})
