import t from 'tap'
import * as z from 'zod'
import { defineTask, isTask, type TaskContext, type TaskDefinition } from './define-task.js'
import { remoteTask, type RemoteTaskOptions } from './remote-task.js'
import type { RetryOptions } from './run-options.js'
import type { StandardSchema } from './standard-schema.js'

const context = (input: unknown): TaskContext => ({
  input,
  signal: new AbortController().signal,
  log: { debug() {}, info() {}, warn() {}, error() {} },
  progress() {},
  checkpoint() {}, extend: async () => 0,
  lastCheckpoint: undefined,
  attempt: 1,
  maxAttempts: 3,
  runId: '7',
  task: 'greet',
  queue: 'default',
  parents: {},
  parent: () => {
    throw new Error('it has none')
  },
})

t.test('run is given what the schema makes of the input, and callers get what the output schema makes of its answer', async (t) => {
  const task = defineTask({
    name: 'greet',
    input: z.object({ name: z.string(), locale: z.string().default('en') }),
    output: z.string().transform((text) => text.length),
    run: ({ input }) => `${input.name} in ${input.locale}`,
  })

  t.equal(await task.perform(context({ name: 'Ada' })), 'Ada in en'.length)
})

t.test('a schema of another library, also one that answers later, does as well', async (t) => {
  const even: StandardSchema<number, string> = {
    '~standard': { version: 1, vendor: 'by hand', validate: async (value) => (Number(value) % 2 === 0 ? { value: `even ${String(value)}` } : { issues: [{ message: 'odd' }] }) },
  }
  const task = defineTask({ name: 'even', input: even, run: ({ input }) => input.toUpperCase() })

  t.equal(await task.perform(context(2)), 'EVEN 2')
  await t.rejects(task.toCall(3), { name: 'InvalidInput', message: 'The input of task "even" is invalid: odd' })
})

t.test('an input travels as it was given, and is checked as the worker will see it', async (t) => {
  const task = defineTask({ name: 'greet', input: z.object({ at: z.date(), locale: z.string().default('en') }), run() {} })
  const lenient = defineTask({ name: 'greet', input: z.object({ locale: z.string().default('en') }), run() {} })

  t.same(await lenient.toCall({}), { args: [{}] })
  await t.rejects(task.toCall({ at: new Date(0) }), { code: 'INVALID_INPUT', issues: [{ path: ['at'] }] }, 'a Date is text when it arrives')
})

t.test('an invalid input is refused before run, with path and reason, for good', async (t) => {
  let ran = false
  const task = defineTask({ name: 'greet', input: z.object({ users: z.array(z.object({ id: z.number() })) }), run: () => void (ran = true) })

  await t.rejects(task.perform(context({ users: [{ id: 'x' }] })), { name: 'InvalidInput', retryable: false, message: /"greet" is invalid: users\[0\]\.id: .*expected number/ })
  t.equal(ran, false)
})

t.test('an answer that does not fit the output schema is an error, for good', async (t) => {
  const task = defineTask({ name: 'greet', output: z.object({ id: z.string() }), run: () => ({ id: 5 as unknown as string }) })

  await t.rejects(task.perform(context(undefined)), { name: 'InvalidOutput', code: 'INVALID_OUTPUT', retryable: false })
})

t.test('a task without input has no argument', async (t) => {
  t.same(await defineTask({ name: 'tick', run() {} }).toCall(undefined), { args: [] })
})

t.test('a task knows its defaults and where it was defined', async (t) => {
  const task = defineTask({ name: 'greet', queue: 'mail', priority: 5, retry: { attempts: 9 }, timeout: '1.5m', run() {} })

  t.match(task, { name: 'greet', queue: 'mail', priority: 5, maxAttempts: 9, timeoutMs: 90_000 })
  t.match(task.definedAt, /define-task\.test\.[jt]s:\d+$/)
  t.notOk('queue' in defineTask({ name: 'plain', run() {} }), 'what is not said stays open')
})

t.test('a definition that cannot work is refused where it is written', async (t) => {
  const run = () => {}
  t.throws(() => defineTask({ name: '', run }), { code: 'INVALID_OPTION', message: /A task name is text/ })
  t.throws(() => defineTask({ name: 'x'.repeat(513), run }), { code: 'INVALID_OPTION' })
  t.throws(() => defineTask({ name: 'a', priority: 1.5, run }), { message: 'Task "a": priority is an integer from -32768 to 32767, not 1.5' })
  t.throws(() => defineTask({ name: 'a', retry: { attempts: 0 }, run }), { message: 'Task "a": retry.attempts is an integer from 1 to 1000, not 0' })
  t.throws(() => defineTask({ name: 'a', locKey: 'k', run } as TaskDefinition<void, void, void, void>), { message: 'Task "a": a definition has no option "locKey"', hint: /there are name, .*lockKey/ })
  t.throws(() => defineTask({ name: 'a', retry: { backof: [1] } as RetryOptions, run }), { message: 'Task "a": retry has no option "backof"' })
  t.throws(() => remoteTask('a', { locKey: 'k' } as RemoteTaskOptions), { message: 'Task "a": there is no option "locKey"' })
  t.throws(() => defineTask({ name: 'a', timeout: 'soon', run }), { code: 'INVALID_DURATION' })
})

t.test('a task is told from other values, also one that another copy of this package made', async (t) => {
  t.ok(isTask(defineTask({ name: 'a', run() {} })))
  t.ok(isTask({ '~reproq': 'task' }))
  for (const other of [null, undefined, 'task', {}, remoteTask('a')]) t.notOk(isTask(other))
})

t.test('a task of another language is called with what the caller gives', async (t) => {
  const add = remoteTask<{ args: [number, number]; kwargs?: { exact: boolean } }, number>('mypkg.add', { queue: 'python', timeout: '2s' })

  t.match(add, { name: 'mypkg.add', queue: 'python', timeoutMs: 2_000 })
  t.same(await add.toCall({ args: [1, 2], kwargs: { exact: true } }), { args: [1, 2], kwargs: { exact: true } })
})
