import t from 'tap'
import { leased } from './scripted-broker.test.given.js'
import { event, given } from './worker.test.given.js'

const notStarted = { outcome: 'crashed', error: { class: 'ExecutorNotStarted', message: 'there is no program "python"' }, retryable: true } as const

t.test('an executor that does not start three times in a row is given no more runs, then one, then all again', async (t) => {
  const errors: string[] = []
  const { executor, link } = await given(t, { concurrency: 1, window: 4, log: { debug() {}, info() {}, warn() {}, error: (message) => void errors.push(message) } })
  link.send({ t: 'runs', items: [1, 2, 3, 4].map((run) => leased(run, 'x')) })
  await link.expect('accept')
  for (const n of [1, 2, 3]) {
    ;(await executor.started(n)).settle(notStarted)
    if (n < 3) await link.expect('result')
  }
  t.match(await link.expect('subs'), { items: [{ window: 0 }] }, 'healthy workers get the next ones')
  await link.until(() => link.unread.length >= 2, 'the last result and the release')
  t.match([...link.unread].toSorted((a, b) => a.t.localeCompare(b.t)), [{ t: 'release', items: [{ l: 4, reason: 'overload' }] }, { t: 'result', items: [{ l: 3 }] }], 'what waits is given back, uncounted')
  await link.expect(link.unread[0]?.t as 'result')
  await link.expect(link.unread[0]?.t as 'result')
  t.match(errors, [/executor hand could not be started 3 times in a row; .* tried again in 1 s/])

  t.match(await link.expect('subs'), { items: [{ window: 1 }] }, 'one to try it with')
  link.send({ t: 'runs', items: [leased(5, 'x')] })
  await link.expect('accept')
  ;(await executor.started(4)).settle(notStarted)
  t.match(await link.expect('subs'), { items: [{ window: 0 }] }, 'in vain')
  await link.expect('result')
  t.match(errors[1], /4 times in a row; .* tried again in 2 s/)
  t.match(await link.expect('subs'), { items: [{ window: 1 }] })
  link.send({ t: 'runs', items: [leased(6, 'x')] })
  await link.expect('accept')
  ;(await executor.started(5)).settle({ outcome: 'ok', output: '1' })
  t.match(await link.expect('subs'), { items: [{ window: 4 }] }, 'it works again')
})

t.test('two failures are bad luck', async (t) => {
  const { executor, worker, link } = await given(t, { concurrency: 1 })
  link.send({ t: 'runs', items: [1, 2, 3].map((run) => leased(run, 'x')) })
  await link.expect('accept')
  ;(await executor.started(1)).settle(notStarted)
  ;(await executor.started(2)).settle({ outcome: 'ok', output: '1' })
  const settled = event(worker, 'run.settled')
  ;(await executor.started(3)).settle(notStarted)
  await settled
  await link.beats(1)
  t.same(link.unread.filter(({ t }) => t === 'subs'), [])
})

t.test('a run that must be alone waits until nothing runs, and nothing runs or is asked for beside it', async (t) => {
  const { executor, link } = await given(t, { concurrency: 4, window: 8 })
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const beside = await executor.started(1)
  link.send({ t: 'runs', items: [leased(2, 'x', { alone: 'worker' }), leased(3, 'x')] })
  await link.expect('accept')
  t.match(await link.expect('subs'), { items: [{ window: 0 }] })
  await link.beats(2)
  t.equal(executor.executions.length, 1, 'it waits')
  beside.settle({ outcome: 'ok', output: '1' })
  const alone = await executor.started(2)
  t.equal(alone.assignment.run, '2')
  await link.beats(2)
  t.equal(executor.executions.length, 2, 'what came behind it does not start')
  await link.expect('release').then(({ items }) => t.same(items, [{ l: 3, reason: 'preempted' }], 'and goes back'))
  alone.settle({ outcome: 'crashed', error: { class: 'ExecutorCrashed', message: 'again' } })
  await link.until(() => link.unread.some(({ t }) => t === 'subs'), 'the window to open again')
})
