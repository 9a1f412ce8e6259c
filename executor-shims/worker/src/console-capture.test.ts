import { EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { format } from 'node:util'
import t, { type Test } from 'tap'
import { defineTask, type TaskContext } from '../../../sdk-ts/src/define-task.js'
import { captureConsole } from './console-capture.js'
import { Stop, type Assignment } from './executor.js'
import { InProcessExecutor, type InProcessOptions } from './in-process.js'

const METHODS = ['log', 'info', 'debug', 'dir', 'warn', 'error'] as const
const never = new AbortController().signal

/** A console that writes down what it is given, in place of the one of this process. */
function givenConsole(t: Test) {
  const lines: string[] = []
  const before = METHODS.map((method) => [method, console[method]] as const)
  const ours = METHODS.map((method) => [method, (...args: unknown[]) => void lines.push(`${method} ${format(...args)}`)] as const)
  for (const [method, write] of ours) console[method] = write
  t.teardown(() => before.forEach(([method, write]) => (console[method] = write)))
  return { lines, isUntouched: () => ours.every(([method, write]) => console[method] === write) }
}

/** An executor of one task; `heard` has what each run has said, by its id. */
function givenExecutor(t: Test, run: (context: TaskContext<string>) => unknown, options: InProcessOptions = {}) {
  const executor = new InProcessExecutor([defineTask({ name: 'subject', run })], options)
  t.teardown(() => executor.stop())
  const heard: Record<string, string[]> = {}
  const execute = (id: string, signal: AbortSignal = never) => {
    const said: string[] = (heard[id] = [])
    const assignment: Assignment = { lease: id, run: id, task: 'subject', queue: 'default', attempt: 1, max_attempts: 1, timeout_ms: 0, cancel_grace_ms: 60_000, spec: JSON.stringify({ args: [id] }) }
    return executor.execute(assignment, signal, { print: (stream, text) => void said.push(`${stream} ${text}`), progress() {} })
  }
  return { executor, execute, heard }
}

t.test('what a handler writes to console is output of its run, and goes where console goes', async (t) => {
  const { lines } = givenConsole(t)
  const { execute, heard } = givenExecutor(t, () => {
    console.log('%s is %d', 'seven', 7, { a: [1] })
    console.info()
    console.debug('debug')
    console.dir({ deep: { a: { b: { c: 1 } } } }, { depth: 0 })
    console.warn('warn')
    console.error(new RangeError('error').message)
    console.table([{ a: 1 }])
    console.assert(false, 'assert')
  })

  t.match(await execute('1'), { outcome: 'ok' })

  t.same(heard['1']?.slice(0, 6), ['stdout seven is 7 { a: [ 1 ] }\n', 'stdout \n', 'stdout debug\n', 'stdout { deep: [Object] }\n', 'stderr warn\n', 'stderr error\n'])
  t.match(heard['1']?.slice(6), [/^stdout [^]*\(index\)/, /^stderr Assertion failed: assert/])
  t.match(lines, ['log seven is 7 { a: [ 1 ] }', 'info ', 'debug debug', /^dir .*deep/, 'warn warn', 'error error', /^log/, /^warn/])
})

t.test('runs at the same time are kept apart, whatever they wait for and whoever calls them back', async (t) => {
  const { lines } = givenConsole(t)
  const shared = new EventEmitter()
  const { execute, heard } = givenExecutor(t, async ({ input }) => {
    const say = (where: string) => console.log(`${input} ${where}`)
    say('began')
    await sleep(1)
    say('slept')
    await Promise.all([1, 2].map(async (part) => {
      await null
      say(`part ${part}`)
    }))
    await new Promise<void>((resolve) => setTimeout(() => resolve(say('timer')), 1))
    const told = new Promise<void>((resolve) => shared.once('go', () => resolve()))
    if (shared.listenerCount('go') === 3) shared.emit('go')
    await told
    say('ended')
  })

  await Promise.all(['a', 'b', 'c'].map((id) => execute(id)))

  const words = ['began', 'slept', 'part 1', 'part 2', 'timer', 'ended']
  for (const id of ['a', 'b', 'c']) t.same(heard[id], words.map((word) => `stdout ${id} ${word}\n`))
  t.equal(lines.length, 18)
  t.notSame(lines, lines.toSorted(), 'they did interleave')
})

t.test('what belongs to no run, or to one that has ended or was given up, goes to console alone', async (t) => {
  const { lines } = givenConsole(t)
  const control = new AbortController()
  let late = Promise.resolve()
  const { execute, heard } = givenExecutor(t, async ({ input, signal }) => {
    console.log(`${input} in time`)
    if (input === 'ignores') await new Promise((resolve) => signal.addEventListener('abort', () => setImmediate(resolve)))
    late = sleep(5).then(() => console.log(`${input} late`))
    if (input === 'ignores') await late
  })

  await execute('ends')
  await late
  const ignoring = execute('ignores', control.signal)
  control.abort(new Stop('cancelled', true))
  t.match(await ignoring, { outcome: 'cancelled' })
  await sleep(5)
  await late
  console.log('nobody')

  t.same(heard, { ends: ['stdout ends in time\n'], ignores: ['stdout ignores in time\n'] })
  t.same(lines, ['log ends in time', 'log ends late', 'log ignores in time', 'log ignores late', 'log nobody'])
})

t.test('a log that writes to console itself is not heard a second time, nor for ever', async (t) => {
  const { lines } = givenConsole(t)
  const write = (message: string) => console.log(`log: ${message}`)
  const { execute, heard } = givenExecutor(t, ({ log }) => {
    log.info('hello')
    console.warn('careful')
  }, {
    log: () => ({ debug: write, info: write, warn: write, error: write }),
    onPrint: ({ run }, stream, text) => {
      console.log(`printed by ${run}: ${stream} ${text.trim()}`)
      setImmediate(() => console.log('and later'))
    },
  })

  await execute('1')
  await new Promise((resolve) => setImmediate(resolve))

  t.same(heard['1'], ['log info hello\n', 'stderr careful\n'])
  t.same(lines, ['log log: hello', 'log printed by 1: stderr careful', 'log and later'], 'with onPrint, console is not written to besides')
})

t.test('console is wrapped while somebody captures it, and then what it was', async (t) => {
  const { isUntouched } = givenConsole(t)
  const [first, second] = [givenExecutor(t, () => console.log('x')), givenExecutor(t, () => console.log('x'))]
  t.ok(isUntouched(), 'not before something runs')
  await Promise.all([first.execute('1'), second.execute('2')])
  await first.executor.stop()
  await first.executor.stop()
  t.notOk(isUntouched())
  await second.execute('3')
  t.same(second.heard['3'], ['stdout x\n'])
  await second.executor.stop()
  t.ok(isUntouched())

  await second.execute('4')
  t.same(second.heard['4'], ['stdout x\n'], 'an executor that goes on after a stop')
  const ours = console.log
  const theirs = (...args: unknown[]) => ours('theirs', ...args)
  console.log = theirs
  await second.executor.stop()
  t.equal(console.log, theirs, 'what others put around it stays')
})

t.test('a wrapper that others kept only passes on', async (t) => {
  const { lines } = givenConsole(t)
  const release = captureConsole()
  const kept = console.log
  console.log = (...args: unknown[]) => kept('theirs', ...args)
  release()
  const { execute, heard } = givenExecutor(t, () => console.log('x'))
  await execute('1')
  t.same(heard['1'], ['stdout x\n'], 'once')
  t.same(lines, ['log theirs x'])
})

t.test('turned off, console is left alone', async (t) => {
  const { lines, isUntouched } = givenConsole(t)
  let wasUntouched = false
  const { execute, heard } = givenExecutor(t, () => {
    wasUntouched = isUntouched()
    console.log('x')
  }, { captureConsole: false })
  await execute('1')
  t.ok(wasUntouched)
  t.same([heard['1'], lines], [[], ['log x']])
})
