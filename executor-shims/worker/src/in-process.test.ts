import t from 'tap'
import * as z from 'zod'
import { defineTask, type TaskContext } from '../../../sdk-ts/src/define-task.js'
import { NonRetryableError, Postpone, RetryAfter } from '../../../sdk-ts/src/errors.js'
import { Stop, type Assignment, type StopReason } from './executor.js'
import { InProcessExecutor } from './in-process.js'

const assignment = (more: Partial<Assignment> = {}): Assignment => ({
  lease: '00000000-0000-4000-8000-000000000000',
  run: '7',
  task: 'subject',
  queue: 'default',
  attempt: 2,
  max_attempts: 3,
  timeout_ms: 1_000,
  cancel_grace_ms: 60_000,
  spec: '{"v": 1, "args": [], "kwargs": {}}',
  ...more,
})
const calling = (...args: unknown[]) => ({ spec: JSON.stringify({ args, kwargs: {} }) })
const never = new AbortController().signal

/** Executes a task made of this handler once. */
const executing = (run: (context: TaskContext<unknown>) => unknown, more: Partial<Assignment> = {}, signal = never) =>
  new InProcessExecutor([defineTask({ name: 'subject', run })]).execute(assignment(more), signal)

t.test('a handler is given its input and what attempt it is in; what it returns is the output', async (t) => {
  let seen: object = {}

  const settlement = await executing((context) => {
    seen = context
    return { sum: 3 }
  }, calling({ a: 1 }))

  t.same(settlement, { outcome: 'ok', output: '{"sum":3}' })
  t.match(seen, { input: { a: 1 }, attempt: 2, maxAttempts: 3, runId: '7', task: 'subject', queue: 'default' })
})

t.test('no argument is an undefined input, keyword arguments of another language are one, two are too many', async (t) => {
  const echo = ({ input }: TaskContext<unknown>) => (input === undefined ? 'nothing' : input)

  t.match(await executing(echo), { output: '"nothing"' })
  t.match(await executing(echo, { spec: '{"args": [], "kwargs": {"userId": 1}}' }), { output: '{"userId":1}' })
  t.match(await executing(echo, calling(1, 2)), { outcome: 'error', retryable: false, error: { class: 'InvalidInput', message: /takes one argument, the call has 2 positional/ } })
  t.match(await executing(echo, { spec: '{"args": [1], "kwargs": {"a": 1}}' }), { outcome: 'error', retryable: false })
})

t.test('an answer of nothing is null', async (t) => {
  t.match(await executing(() => {}), { outcome: 'ok', output: 'null' })
})

t.test('an input that does not fit fails for good, without running the handler', async (t) => {
  let ran = false
  const executor = new InProcessExecutor([defineTask({ name: 'subject', input: z.object({ id: z.number() }), run: () => void (ran = true) })])

  t.match(await executor.execute(assignment(calling({ id: 'x' })), never), { outcome: 'error', retryable: false, error: { class: 'InvalidInput', message: /id: / } })
  t.equal(ran, false)
})

t.test('an answer that is no JSON fails for good: the next would be none either', async (t) => {
  const cycle: { self?: unknown } = {}
  cycle.self = cycle
  for (const [output, reason] of [[{ big: 1n }, /BigInt/], [cycle, /circular/]] as const) {
    t.match(await executing(() => output), { outcome: 'error', retryable: false, error: { class: 'InvalidOutput', message: reason } })
  }
})

t.test('an error may be tried again, and is told with its chain of causes', async (t) => {
  class BadAddress extends Error {
    override name = 'BadAddress'
  }

  const settlement = await executing(() => {
    throw new BadAddress('no such mailbox', { cause: new TypeError('deep reason', { cause: 'a word' }) })
  })

  t.match(settlement, { outcome: 'error', error: { class: 'BadAddress', message: 'no such mailbox' } })
  t.notOk('retryable' in settlement)
  t.match(settlement.error?.traceback, /no such mailbox\n {4}at [^]*Caused by: TypeError: deep reason\n {4}at [^]*Caused by: a word$/)
})

t.test('causes that go in a circle are told once', async (t) => {
  const [chicken, egg] = [new Error('chicken'), new Error('egg')]
  chicken.cause = egg
  egg.cause = chicken

  const { error } = await executing(() => Promise.reject(chicken))

  t.equal(error?.traceback?.split('Caused by').length, 2)
})

t.test('whatever is thrown becomes an error that fits into a frame', async (t) => {
  for (const [thrown, message] of [['text', 'text'], [undefined, 'undefined'], [{ code: 5 }, '{"code":5}'], [Object.create(null), '{}']] as const) {
    t.match(await executing(() => Promise.reject(thrown)), { outcome: 'error', error: { class: typeof thrown, message } })
  }
  const { error } = await executing(() => Promise.reject(new Error('x'.repeat(100_000))))
  t.equal(error?.message.length, 65_536)
})

t.test('a handler may forbid further attempts, or choose when the next one starts', async (t) => {
  t.match(await executing(() => Promise.reject(new NonRetryableError('bad address'))), { outcome: 'error', retryable: false, error: { class: 'NonRetryableError' } })
  t.match(await executing(() => Promise.reject(new Postpone('60s'))), { outcome: 'postponed', retryAfterMs: 60_000, holdQueue: undefined })
  t.match(await executing(() => Promise.reject(new Postpone('60s', { queue: true }))), { outcome: 'postponed', retryAfterMs: 60_000, holdQueue: true })
  t.match(await executing(() => Promise.reject(new RetryAfter('60s', 'rate limited'))), { outcome: 'error', retryAfterMs: 60_000, error: { message: 'rate limited' } })
})

t.test('a stop reaches the handler with its reason, and decides the outcome of what it throws', async (t) => {
  const outcomes: [StopReason, string][] = [['cancelled', 'cancelled'], ['timeout', 'timeout'], ['shutdown', 'cancelled'], ['lost_lease', 'cancelled']]
  for (const [reason, outcome] of outcomes) {
    const stopping = new AbortController()
    let seen: unknown
    const settled = executing(({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject((seen = signal.reason)))), {}, stopping.signal)

    stopping.abort(new Stop(reason))

    t.match(await settled, { outcome })
    t.match(seen, { reason }, `the handler is told: ${reason}`)
  }
})

t.test('a handler that succeeds in spite of a stop has succeeded', async (t) => {
  const stopping = new AbortController()
  const settled = executing(({ signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve('saved'))), {}, stopping.signal)

  stopping.abort(new Stop('cancelled'))

  t.same(await settled, { outcome: 'ok', output: '"saved"' })
})

t.test('a handler that ignores the stop is given up after the grace period, at once when the stop is hard', async (t) => {
  const hang = () => new Promise(() => {})
  for (const [stop, cancel_grace_ms] of [[new Stop('timeout'), 20], [new Stop('timeout', true), 60_000]] as const) {
    const stopping = new AbortController()
    const started = performance.now()
    const settled = executing(hang, { cancel_grace_ms }, stopping.signal)

    stopping.abort(stop)

    t.match(await settled, { outcome: 'timeout' })
    t.ok(performance.now() - started >= (stop.hard ? 0 : 19), stop.hard ? 'at once' : 'not before its grace is over')
  }
})

t.test('a late failure of a handler that was given up hurts nobody', async (t) => {
  const stopping = new AbortController()
  let fail = (_: Error) => {}
  const settled = executing(() => new Promise((_, reject) => (fail = reject)), {}, stopping.signal)

  stopping.abort(new Stop('cancelled', true))
  fail(new Error('too late'))

  t.match(await settled, { outcome: 'cancelled' })
})

t.test('a run that is stopped before it starts does not start', async (t) => {
  let ran = false

  t.match(await executing(() => void (ran = true), {}, AbortSignal.abort(new Stop('timeout'))), { outcome: 'timeout' })
  t.equal(ran, false)
})

t.test('stopping the executor gives up what runs, also what is in its grace period', async (t) => {
  const executor = new InProcessExecutor([defineTask({ name: 'subject', run: () => new Promise(() => {}) })])
  const stopping = new AbortController()
  const settled = Promise.all([executor.execute(assignment(), never), executor.execute(assignment(), stopping.signal)])
  stopping.abort(new Stop('timeout'))

  await executor.stop()

  t.match(await settled, [{ outcome: 'cancelled' }, { outcome: 'timeout' }])
})

t.test('it serves its tasks only', async (t) => {
  const executor = new InProcessExecutor([defineTask({ name: 'subject', run() {} })])

  t.ok(executor.serves('subject'))
  t.notOk(executor.serves('other'))
  t.same(executor.tasks, ['subject'])
  t.match(await executor.execute(assignment({ task: 'other' }), never), { outcome: 'rejected', error: { message: /"other"/ } })
})

t.test('two tasks of one name are refused with both places, one task twice is one task', async (t) => {
  const first = defineTask({ name: 'subject', run() {} })
  const second = defineTask({ name: 'subject', run() {} })

  t.throws(() => new InProcessExecutor([first, second]), { name: 'InvalidOption', message: /^Task "subject" is defined twice: .*in-process\.test\.[jt]s:\d+ and .*in-process\.test\.[jt]s:\d+$/ })
  t.same(new InProcessExecutor([first, first]).tasks, ['subject'])
  t.throws(() => new InProcessExecutor(['subject' as never]), { message: /"?subject"? is no task/ })
})

t.test('what a handler logs goes to the log of its run', async (t) => {
  const lines: unknown[] = []
  const write = (level: string) => (run: string) => (message: string, fields?: object) => void lines.push([run, level, message, fields])
  const executor = new InProcessExecutor([defineTask({ name: 'subject', run: ({ log }) => log.warn('slow', { ms: 5 }) })], {
    log: ({ run }) => ({ debug: write('debug')(run), info: write('info')(run), warn: write('warn')(run), error: write('error')(run) }),
  })

  await executor.execute(assignment(), never)

  t.same(lines, [['7', 'warn', 'slow', { ms: 5 }]])
})

t.test('a spec that is no JSON is an error like any other', async (t) => {
  t.match(await executing(() => {}, { spec: '{' }), { outcome: 'error', error: { class: 'SyntaxError' } })
})
