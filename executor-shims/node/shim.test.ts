import t from 'tap'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Stop, type Voice } from '../worker/src/executor.js'
import { LoopExecutor } from '../worker/src/loop.js'
import { assignment, givenExecutor } from '../worker/src/one-shot.test.given.js'
import { OneShotExecutor } from '../worker/src/one-shot.js'

const folder = fileURLToPath(new URL('.', import.meta.url))
const command = [process.execPath, join(folder, 'shim.js'), join(folder, 'conformance.test.given.js')]
const never = new AbortController().signal

t.test('a warm Node process runs tasks one after the other', async (t) => {
  const { executor, log } = givenExecutor(t, (common) => new LoopExecutor({ ...common, command: [...command, '--loop'], processes: 1, maxLogBytes: 10_000_000 }))
  const run = (task: string, ...args: unknown[]) => executor.execute(assignment(`conformance.${task}`, args), never)
  t.same(await run('echo', { a: [1.5, 'é'] }), { outcome: 'ok', output: '{"a":[1.5,"é"]}' })
  t.same(await run('pid'), await run('pid'))
  t.equal((await run('whoami')).output, '["9007199254740993",1]')
  t.match(await run('fail', 'no luck'), { outcome: 'error', error: { class: 'Error', message: 'no luck', traceback: /conformance\.test\.given/ } })
  t.match(await run('fail_for_good', 'no luck'), { outcome: 'error', retryable: false })
  t.match(await run('unheard_of'), { outcome: 'error', error: { class: 'UnknownTask' } })
  await run('print_text', 'hello\n')
  t.match(log, { stdout: /hello/, stderr: /hello/ })
  log.stdout = ''
  await run('flood', 3_000_000)
  t.equal(log.stdout.length, 3_000_000, 'all of it, before the run is over')
  t.match(await run('exit', 3), { outcome: 'crashed', exit: { code: 3 } })
  t.match(await run('echo', 1), { outcome: 'ok', output: '1' })
})

t.test('a concurrent one runs several at a time, and cancels one of them', async (t) => {
  const { executor, said } = givenExecutor(t, (common) => new LoopExecutor({ ...common, command: [...command, '--loop', '--concurrent'], processes: 1 }))
  const control = new AbortController()
  const waiting = executor.execute(assignment('conformance.wait'), control.signal)
  await said('waiting')
  const before = await executor.execute(assignment('conformance.pid'), never)
  control.abort(new Stop('timeout'))
  t.match(await waiting, { outcome: 'timeout', error: { class: 'Timeout' } })
  t.same(await executor.execute(assignment('conformance.pid'), never), before)
})

t.test('a fresh Node process for each run', async (t) => {
  const { executor, said } = givenExecutor(t, (common) => new OneShotExecutor({ ...common, command }))
  const run = (task: string, args: unknown[] = [], signal = never) => executor.execute(assignment(`conformance.${task}`, args), signal)
  t.not((await run('pid')).output, (await run('pid')).output)
  t.match(await run('big', [900_000]), { outcome: 'ok', output: /^"x{900000}"$/ })
  t.match(await run('print_and_exit', ['{"ok":true}\n']), { outcome: 'crashed', exit: { code: 0 } }, 'what is printed is no result')
  const control = new AbortController()
  const waiting = run('wait', [], control.signal)
  await said('waiting')
  control.abort(new Stop('cancelled'))
  const stopped = await waiting
  t.match(stopped, { outcome: 'cancelled' })
  t.equal(stopped.exit, undefined, 'it had time to write an envelope')
})

t.test('code asks for more time on the descriptor of its result, several runs at once, and hears what it got or why not', async (t) => {
  const voice = { print() {}, progress() {}, extend: async (ms: number) => ms / 2 }
  const oneShot = givenExecutor(t, (common) => new OneShotExecutor({ ...common, command }))
  const loop = givenExecutor(t, (common) => new LoopExecutor({ ...common, command: [...command, '--loop', '--concurrent'], processes: 1 }))
  for (const { executor } of [oneShot, loop]) {
    const run = (ms: number, heard?: Voice) => executor.execute(assignment('conformance.extend', [ms]), never, heard)
    t.same((await Promise.all([run(2_000, voice), run(4_000, voice)])).map(({ output }) => output), ['1000', '2000'])
    t.match(await run(1_000), { outcome: 'error', error: { class: 'ExtendRefused', message: /cannot extend runs/ } })
    t.match(await run(0, voice), { outcome: 'error', error: { class: 'InvalidDuration' } })
  }
})

t.test('started by hand it says what it is for', async (t) => {
  const { status, stderr } = spawnSync(process.execPath, [join(folder, 'shim.js'), '--loop'], { encoding: 'utf8' })
  t.equal(status, 2)
  t.match(stderr, /Usage: .*--loop/s)
})

t.test('a module that does not load is why the executor could not be started', async (t) => {
  const { executor } = givenExecutor(t, (common) => new LoopExecutor({ ...common, command: [process.execPath, join(folder, 'shim.js'), 'no/such.js', '--loop'] }))
  t.match(await executor.execute(assignment('x'), never), { outcome: 'crashed', error: { class: 'ExecutorNotStarted', message: /No file matches "no\/such\.js"/ } })
})
