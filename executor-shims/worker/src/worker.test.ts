import t from 'tap'
import type { LeasedRun } from '../../../protocol/src/index.js'
import { defineTask } from '../../../sdk-ts/src/define-task.js'
import type { Executor } from './executor.js'
import { leased, leaseId, LIMITS } from './scripted-broker.test.given.js'
import { event, given, HandExecutor, partsWith } from './worker.test.given.js'
import { Worker } from './worker.js'

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

t.test('no more runs than slots run; the others wait their turn', async (t) => {
  const { executor, link } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x'), leased(3, 'x')] })
  t.same((await link.expect('accept')).l, [1, 2, 3], 'one frame for what arrived together')
  const first = await executor.started(2)
  t.equal(first.assignment.run, '2')
  await link.beats(2)
  t.equal(executor.executions.length, 2)
  first.settle({ outcome: 'ok', output: '1' })
  t.equal((await executor.started(3)).assignment.run, '3')
})

t.test('results of one turn of the event loop share a frame', async (t) => {
  const { executor, link } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x')] })
  await link.expect('accept')
  await executor.started(2)
  for (const { settle } of executor.executions) settle({ outcome: 'ok', output: 'null' })
  t.same((await link.expect('result')).items.map((item) => item.l), [1, 2])
})

t.test('a cancel before the start is answered without running anything', async (t) => {
  const { executor, link } = await given(t, { concurrency: 1 })
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x')] })
  await link.expect('accept')
  link.send({ t: 'cancel', items: [{ l: 2, mode: 'soft', reason: 'cancelled', grace_ms: 100 }] })
  t.match((await link.expect('result')).items, [{ l: 2, outcome: 'cancelled' }])
  link.send({ t: 'result_ok', items: [{ l: 2, disp: 'finalized' }] })
  executor.executions[0]?.settle({ outcome: 'ok', output: 'null' })
  t.match((await link.expect('result')).items, [{ l: 1, outcome: 'ok' }])
  t.equal(executor.executions.length, 1)
})

t.test('a cancel reaches running code, by its own frame or with a heartbeat', async (t) => {
  const { executor, link } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x')] })
  await link.expect('accept')
  const [first, second] = [await executor.started(1), await executor.started(2)]
  link.send({ t: 'cancel', items: [{ l: 1, mode: 'hard', reason: 'cancelled', grace_ms: 0 }] })
  t.match(await executor.told(first), { reason: 'cancelled', hard: true })
  t.match((await link.expect('result')).items, [{ l: 1, outcome: 'cancelled' }])
  link.answerHeartbeat = ({ n }) => ({ t: 'hb_ack', n, ok: true, lost: [], cancel: [{ l: 2, mode: 'soft', reason: 'cancelled', grace_ms: 100 }] })
  t.match(await executor.told(second), { reason: 'cancelled', hard: false })
  t.match((await link.expect('result')).items, [{ l: 2, outcome: 'cancelled' }])
})

t.test('a cancel because of the run-time limit is a timeout, which nobody asked for', async (t) => {
  const { executor, link } = await given(t)
  executor.outcome = 'timeout'
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  link.send({ t: 'cancel', items: [{ l: 1, mode: 'hard', reason: 'timeout', grace_ms: 0 }] })
  t.match(await executor.told(attempt), { reason: 'timeout', hard: true })
  t.match((await link.expect('result')).items, [{ l: 1, outcome: 'timeout' }])
})

t.test('a run that has waited here for as long as it may take is given back: it has not used any of its time', async (t) => {
  const { executor, link } = await given(t, { concurrency: 1 })
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x', { attempt: 3 })] })
  await link.expect('accept')
  await executor.started(1)
  link.send({ t: 'cancel', items: [{ l: 2, mode: 'hard', reason: 'timeout', grace_ms: 0 }] })
  t.same((await link.expect('release')).items, [{ l: 2, reason: 'overload' }])
  await link.beats(1)
  t.same(link.heartbeats.at(-1)?.held, [1])
  t.same(link.unread, [], 'there is no result')
})

t.test('the run-time limit stops the code', async (t) => {
  const { executor, link } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x', { timeout_ms: 60 }), leased(2, 'x', { timeout_ms: 0 }), leased(3, 'x', { timeout_ms: 1e12 })] })
  await link.expect('accept')
  t.match(await executor.told(await executor.started(1)), { reason: 'timeout', hard: false })
  const others = [await executor.started(2), await executor.started(3)]
  await link.beats(2)
  for (const { signal } of others) t.equal(signal.aborted, false, 'no limit, or one beyond what timers can count')
})

t.test('a task that no executor serves is rejected by a worker with an allow-list', async (t) => {
  const { link } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'nobodys')] })
  await link.expect('accept')
  const [item] = (await link.expect('result')).items
  t.match(item, { outcome: 'rejected', retryable: false, error: { class: 'SecurityViolation', message: /"nobodys".*hand.*--allow-tasks/ } })
})

t.test('a worker that only has tasks of its own leaves an unknown one for others to try', async (t) => {
  const sum = defineTask({ name: 'sum', run: () => 1 })
  const { link } = await given(t, { tasks: [sum], executors: [] })
  link.send({ t: 'runs', items: [leased(1, 'nobodys'), leased(2, 'sum')] })
  await link.expect('accept')
  const { items } = await link.expect('result')
  t.match(items.find((item) => item.l === 1), { outcome: 'error', retryable: true, error: { class: 'UnknownTask', message: /"nobodys".*sum/ } })
  t.match(items.find((item) => item.l === 2), { outcome: 'ok', output: '1' })
})

t.test('an executor that breaks its promise costs one attempt, not the worker', async (t) => {
  const executor: Executor = { name: 'broken', serves: () => true, execute: () => Promise.reject(new TypeError('oops')), stop: async () => {} }
  const { link } = await given(t, { executors: [executor] })
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  t.match((await link.expect('result')).items, [{ outcome: 'crashed', error: { class: 'TypeError', message: 'oops' } }])
})

t.test('an oversized output fails its run alone', async (t) => {
  const { executor, link } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x')] })
  await link.expect('accept')
  await executor.started(2)
  executor.executions[0]?.settle({ outcome: 'ok', output: JSON.stringify('x'.repeat(LIMITS.output)) })
  executor.executions[1]?.settle({ outcome: 'ok', output: '2' })
  t.match((await link.expect('result')).items, [
    { l: 1, outcome: 'error', retryable: false, error: { class: 'OutputTooLarge' } },
    { l: 2, outcome: 'ok', output: '2' },
  ])
})

t.test('a result that could not be stored now is sent again when the broker said', async (t) => {
  const { executor, link, worker } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x')] })
  await link.expect('accept')
  await executor.started(2)
  for (const { settle } of executor.executions) settle({ outcome: 'ok', output: '7' })
  await link.expect('result')
  const refusedAt = performance.now()
  link.send({ t: 'result_no', items: [{ l: 1, code: 'temporary', retry_after_ms: 120 }, { l: 2, code: 'stale_lease' }] })
  t.match(await event(worker, 'lease.lost'), { runId: '2', reason: 'stale_lease' })
  t.match((await link.expect('result')).items, [{ l: 1, outcome: 'ok', output: '7' }], 'only the temporary one')
  t.ok(performance.now() - refusedAt >= 110)
  t.same(link.heartbeats.at(-1)?.held, [1])
})

t.test('frames of a newer broker are passed over', async (t) => {
  const { executor, link } = await given(t)
  link.sendText('{"t":"weather","sunny":true}')
  link.send({ t: 'runs', items: [{ ...leased(1, 'x'), colour: 'blue' } as LeasedRun] })
  await link.expect('accept')
  await executor.started(1)
  t.equal(link.closedWith, undefined)
})

t.test('a listener that throws harms nobody', async (t) => {
  const { executor, link, worker } = await given(t)
  worker.on('run.started', () => {
    throw new Error('from a listener')
  })
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  attempt.settle({ outcome: 'ok', output: '1' })
  await link.expect('result')
})

t.test('events tell the life of a run', async (t) => {
  const { executor, link, worker } = await given(t)
  const told: unknown[] = []
  for (const name of ['run.started', 'run.settled', 'run.confirmed'] as const) worker.on(name, (facts: object) => told.push([name, facts]))
  link.send({ t: 'runs', items: [leased(1, 'shop.pay')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  attempt.settle({ outcome: 'error', error: { class: 'E', message: 'why' } })
  await link.expect('result')
  const confirmed = event(worker, 'run.confirmed')
  link.send({ t: 'result_ok', items: [{ l: 1, disp: 'retry_scheduled', delay_ms: 5 }] })
  await confirmed
  const facts = { runId: '1', task: 'shop.pay', queue: 'default', attempt: 1 }
  t.match(told, [
    ['run.started', facts],
    ['run.settled', { ...facts, outcome: 'error', error: 'E: why', wallMs: Number }],
    ['run.confirmed', { ...facts, disposition: 'retry_scheduled' }],
  ])
})

t.test('options that cannot work are refused with the line that fixes them', async (t) => {
  const executors = [new HandExecutor()]
  t.throws(() => new Worker({ url: 'nonsense', executors }), { code: 'INVALID_OPTION', message: /nonsense/, hint: /http/ })
  t.throws(() => new Worker({ executors: [] }), { code: 'INVALID_OPTION', message: /tasks and executors/ })
  t.throws(() => new Worker({ executors, concurrency: 0 }), { code: 'INVALID_OPTION', message: /concurrency is 0/ })
  t.throws(() => new Worker({ executors, window: 1.5 }), { code: 'INVALID_OPTION', message: /window is 1.5/ })
  t.throws(() => new Worker({ executors, queues: [] }), { code: 'INVALID_OPTION', message: /queue/ })
})
