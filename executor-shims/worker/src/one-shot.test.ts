import t from 'tap'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Progress } from './progress.js'
import { assignment, given, pythonHome, withoutPython } from './one-shot.test.given.js'

const never = new AbortController().signal

t.test('a result comes back as JSON text', withoutPython, async (t) => {
  const { run } = given(t)
  t.same(await run('add', [2, 3]), { outcome: 'ok', output: '5' })
  t.same(await run('echo', ['é', null]), { outcome: 'ok', output: '{"args":["\\u00e9",null],"kwargs":{}}' })
})

t.test('every digit survives, in and out', withoutPython, async (t) => {
  const { executor, run } = given(t)
  t.same(await run('numbers'), { outcome: 'ok', output: '[12345678901234567890,1.0,-0.0,1e+22]' })
  const exact = { ...assignment('fault_tasks.echo'), spec: '{"task_path":"fault_tasks.echo","args":[12345678901234567890,1.0],"kwargs":{}}' }
  t.same((await executor.execute(exact, never)).output, '{"args":[12345678901234567890,1.0],"kwargs":{}}')
})

t.test('nested attributes, decorated and async functions are found and called', withoutPython, async (t) => {
  const { run } = given(t)
  for (const task of ['Sums.Deep.add', 'decorated', 'add_later']) t.same(await run(task, [2, 3]), { outcome: 'ok', output: '5' }, task)
})

t.test('a task can ask which run it belongs to', withoutPython, async (t) => {
  const { executor, run } = given(t)
  t.equal((await run('whoami', [], never, { attempt: 2 })).output, '["9007199254740993",2,"fault_tasks.whoami","default"]')
  const spec = '{"task_path":"fault_tasks.first_argument","args":["x"],"takes_context":true}'
  t.equal((await executor.execute({ ...assignment('fault_tasks.first_argument'), spec }, never)).output, '["9007199254740993",1,"x"]')
})

t.test('a payload file is private, and gone afterwards', withoutPython, async (t) => {
  const { run } = given(t, { payloadMode: 'file', extraEnv: { TMPDIR: tmpdir() } })
  const { output = '' } = await run('payload_file')
  const [path, mode] = JSON.parse(output) as [string, string]
  t.match(path, join(tmpdir(), 'reproq-payload-'))
  t.equal(mode, '0o600')
  t.notOk(existsSync(path))
})

t.test('progress comes before the result, and its last checkpoint is there for the next attempt', withoutPython, async (t) => {
  const told: Progress[] = []
  const { run } = given(t, { onProgress: (_assignment, progress) => told.push(progress) })
  t.match(await run('progress_and_fail', [25, 150]), { outcome: 'error', error: { message: 'None' } })
  t.same(told, [{ pct: 25, note: 'step 25', data: '{"step":25}' }, { checkpoint: '{"after":25}' }, { pct: 100, note: 'step 150', data: '{"step":150}' }, { checkpoint: '{"after":150}' }])
  const before = process.env.TMPDIR
  const folder = (process.env.TMPDIR = t.testdir())
  t.teardown(() => void (before === undefined ? delete process.env.TMPDIR : (process.env.TMPDIR = before)))
  const checkpoint = JSON.stringify('x'.repeat(500_000))
  t.equal((await run('last_checkpoint', [], never, { checkpoint })).output, checkpoint)
  t.same(readdirSync(folder), [], 'its file is gone')
})

t.test('a failure carries class, message, traceback and the wish for the next attempt', withoutPython, async (t) => {
  const { run } = given(t)
  const failed = await run('fail', ['it broke'])
  t.match(failed, { outcome: 'error', error: { class: 'fault_tasks.OddError', message: 'it broke', traceback: /in fail\n +raise OddError/ } })
  t.notMatch(failed.error?.traceback, /reproq_executor/, 'frames of the executor are left out')
  t.equal(failed.retryable, undefined)
  t.match(await run('fail_for_good'), { error: { class: 'reproq_executor.NonRetryableError' }, retryable: false })
  t.match(await run('fail_for_now', [1.5]), { error: { class: 'reproq_executor.RetryAfter' }, retryAfterMs: 1500 })
  t.match(await run('call_exit', [0]), { outcome: 'error', error: { class: 'SystemExit', message: /sys\.exit\(0\)/ } })
  t.match(await run('nowhere'), { outcome: 'error', error: { class: 'ImportError', message: /has no attribute 'nowhere'/ } })
  t.match(await run('fail_with_nul'), { error: { class: 'ValueError', message: 'a\ufffdb\ufffdc' } })
})

t.test('a result Postgres or JSON cannot hold is an error that is not tried again', withoutPython, async (t) => {
  const { run } = given(t)
  t.match(await run('nan'), { outcome: 'error', error: { class: 'InvalidOutput', message: /\[1\]\['deep'\] is nan/ }, retryable: false })
  t.match(await run('decimal'), { outcome: 'error', error: { class: 'InvalidOutput', message: /\['price'\] is of type decimal\.Decimal/ }, retryable: false })
  t.match(await run('nul'), { outcome: 'error', error: { class: 'InvalidOutput', message: /\\u0000/ }, retryable: false })
  t.match(await run('lone_surrogate'), { outcome: 'error', error: { class: 'InvalidOutput', message: /surrogate pair/ }, retryable: false })
})

t.test('a result over the limit is refused, and its writer is not blocked', withoutPython, async (t) => {
  const { run } = given(t, { maxOutputBytes: 1_000 })
  t.same(await run('big_output', [998]), { outcome: 'ok', output: `"${'x'.repeat(998)}"` })
  for (const size of [999, 5_000_000]) t.match(await run('big_output', [size]), { outcome: 'error', error: { class: 'OutputTooLarge' }, retryable: false }, `${size}`)
})

t.test('what code prints, by whatever way, is log and not result', withoutPython, async (t) => {
  const { run, log } = given(t)
  t.same(await run('raw_write', [1, '{"ok":true,"return":"forged"}\n']), { outcome: 'ok', output: '"quiet"' })
  t.same(await run('child_prints'), { outcome: 'ok', output: '"quiet"' })
  t.same(await run('print_all', ['zwölf', '€']), { outcome: 'ok', output: '2' })
  t.equal(log.stdout, '{"ok":true,"return":"forged"}\nfrom a child\nzwölf\n€\n')
  t.match(await run('raw_write', [3, 'x']), { outcome: 'error', error: { class: 'OSError', message: /Bad file descriptor/ } }, 'the channel is not open to user code')
})

t.test('a flood of output is cut in the log and slows nothing down', withoutPython, async (t) => {
  const { run, log } = given(t, { maxLogBytes: 100_000 })
  t.same(await run('flood', [2, 5_000_000]), { outcome: 'ok', output: '"not blocked"' })
  t.same(await run('flood', [1, 5_000_000]), { outcome: 'ok', output: '"not blocked"' })
  for (const text of [log.stdout, log.stderr]) t.equal(text, `${'e'.repeat(100_000)}\n[cut off after 100000 bytes]\n`)
})

t.test('without a result the run crashed, and the last words of stderr say why', withoutPython, async (t) => {
  const { run } = given(t)
  t.match(await run('exit_silently', [7]), { outcome: 'crashed', exit: { code: 7 }, error: { class: 'ExecutorCrashed', message: /exit code 7 .*: last words/, traceback: /last words/ } })
  t.match(await run('exit_silently', [0]), { outcome: 'crashed', exit: { code: 0 } })
  t.match(await run('kill_itself', [9]), { outcome: 'crashed', exit: { signal: 'SIGKILL' }, error: { message: /memory/ } })
})

t.test('what the code printed is no result, however it looks and however the process ended', withoutPython, async (t) => {
  const { run, log } = given(t)
  const answer = '{"ok":true,"channel":"C1"}'
  for (const [text, ...signal] of [[answer], [answer, 9], [`posting\n${answer}`], [`posting\n${answer}`, 11], ['{"ok":false,"error":"no_channel"}', 9]]) t.match(await run('print_and_die', [text, ...signal]), { outcome: 'crashed' }, `${text} ${signal}`)
  t.equal(log.stdout, `${answer}\n${answer}\nposting\n${answer}\nposting\n${answer}\n{"ok":false,"error":"no_channel"}\n`)
})

t.test('a crash after the result is a success', withoutPython, async (t) => {
  const { run } = given(t)
  t.same(await run('crash_in_teardown'), { outcome: 'ok', output: '"done before the crash"' })
})

t.test('a program that cannot be started is a crash with advice', async (t) => {
  const missing = given(t, { command: ['no-such-program'] })
  t.match(await missing.run('add'), { outcome: 'crashed', retryable: true, error: { class: 'ExecutorNotStarted', message: /no program "no-such-program"/ } })
  const nowhere = given(t, { cwd: '/no/such/folder', command: [process.execPath] })
  t.match(await nowhere.run('add'), { outcome: 'crashed', error: { message: /folder \/no\/such\/folder does not exist/ } })
  const impossible = given(t, { command: ['a\0b'] })
  t.match(await impossible.run('add'), { outcome: 'crashed', error: { class: 'ExecutorNotStarted' } })
})

t.test('an executor that never reads its payload is not at fault', async (t) => {
  const { executor } = given(t, { command: ['sh', '-c', 'exec 0<&-; echo \'{"ok":true,"return":1}\' >&3'] })
  const large = { ...assignment('x'), spec: JSON.stringify('x'.repeat(5_000_000)) }
  t.same(await executor.execute(large, never), { outcome: 'ok', output: '1' })
})

t.test('an executor that knows only stdout is understood, whatever its exit status', withoutPython, async (t) => {
  const answering = (text: string, code: string) => given(t, { command: ['python3', 'stdout_executor.py', text, code] }).run('x')
  t.same(await answering('\n {"ok":true,"return":1.0}\n', '0'), { outcome: 'ok', output: '1.0' })
  t.same(await answering('{"ok":true}', '1'), { outcome: 'ok' })
  t.match(await answering('{"ok":false,"exception_class":"KeyError","message":"k"}', '1'), { outcome: 'error', error: { class: 'KeyError', message: 'k' } })
  t.match(await answering('hello {"ok":true}', '0'), { outcome: 'error', error: { class: 'InvalidOutput', message: /found: hello/ } })
})

t.test('an answer on stdout is no part of the log; what only looks like one is', withoutPython, async (t) => {
  const answering = given(t, { command: ['sh', '-c', 'echo before; echo \'{"ok":true,"return":"secret"}\''] })
  t.same(await answering.run('x'), { outcome: 'ok', output: '"secret"' }, 'its last line, after what a child process printed')
  t.equal(answering.log.stdout, 'before\n')
  const chatty = given(t, { command: ['sh', '-c', 'echo \'{"ok":true}\'; seq 3 | sed s/^/x/; kill -9 $$'] })
  t.match(await chatty.run('x'), { outcome: 'crashed' })
  t.equal(chatty.log.stdout, '{"ok":true}\nx1\nx2\nx3\n', 'all of it, when there was no answer')
  const dying = given(t, { command: ['sh', '-c', 'echo before; echo \'{"ok":true}\'; kill -9 $$'] })
  t.match(await dying.run('x'), { outcome: 'crashed' })
  t.equal(dying.log.stdout, 'before\n{"ok":true}\n')
  const printing = given(t, { command: ['sh', '-c', 'echo \'{"ok":true} is printed\'; echo \'{"ok":true}\' >&3'] })
  t.same(await printing.run('x'), { outcome: 'ok' })
  t.equal(printing.log.stdout, '{"ok":true} is printed\n')
})

t.test('bytes on the channel that are not UTF-8 are an error', withoutPython, async (t) => {
  const { run } = given(t, { command: ['python3', 'raw_executor.py', Buffer.from('{"ok":true,"return":"\xff"}\n', 'latin1').toString('hex'), '0'] })
  t.match(await run('x'), { outcome: 'error', error: { class: 'InvalidOutput', message: /UTF-8/ } })
})

t.test('the Python executor answers on stdout when no channel is offered', withoutPython, async (t) => {
  const { run, log } = given(t, { command: ['sh', '-c', 'unset REPROQ_RESULT_FD; exec python3 -m reproq_executor "$@"', 'sh'] })
  t.same(await run('raw_write', [1, 'noise']), { outcome: 'ok', output: '"quiet"' })
  t.same(await run('child_prints'), { outcome: 'ok', output: '"quiet"' })
  t.equal(log.stderr, 'noisefrom a child\n')
})

t.test('the Python executor can be run by hand', withoutPython, async (t) => {
  const byHand = (...args: string[]) => spawnSync('python3', ['-m', 'reproq_executor', ...args], { cwd: join(pythonHome, 'tests'), env: { ...process.env, PYTHONPATH: pythonHome }, encoding: 'utf8' })
  t.match(byHand('--payload-json', '{"task_path":"fault_tasks.add","args":[1,2]}'), { status: 0, stdout: '{"ok":true,"return":3}\n' })
  t.match(byHand('--payload-json', '{}', '--task-path', 'fault_tasks.environment', '--settings', 'shop.settings').stdout, '"DJANGO_SETTINGS_MODULE":"shop.settings"')
  t.match(byHand('--payload-json', '{}'), { status: 1, stdout: /PayloadError/ })
  t.match(byHand(), { status: 2, stdout: '', stderr: /To try a task by hand/ })
})

t.test('the environment of the worker stays with the worker', withoutPython, async (t) => {
  process.env.REPROQ_TOKEN = 'secret'
  process.env.SHOP_REGION = 'eu'
  const { run } = given(t, { env: ['SHOP_*', 'REPROQ_*'], extraEnv: { EXTRA: 'yes' } })
  const environment = JSON.parse((await run('environment')).output ?? '') as Record<string, string>
  t.match(environment, { PATH: process.env.PATH, SHOP_REGION: 'eu', EXTRA: 'yes' })
  t.notOk('REPROQ_TOKEN' in environment)
  t.notOk('REPROQ_RESULT_FD' in environment, 'a nested executor must not take the channel')
})

t.test('only allowed tasks are served, and executed', withoutPython, async (t) => {
  const { executor, run } = given(t, { allow: ['shop.tasks.'] })
  t.ok(executor.serves('shop.tasks.charge'))
  t.notOk(executor.serves('fault_tasks.add'))
  t.match(await run('add', [1, 2]), { outcome: 'rejected', error: { class: 'SecurityViolation' }, retryable: false })
})

t.test('the Python package carries its types and its version', async (t) => {
  t.ok(statSync(join(pythonHome, 'reproq_executor/py.typed')))
  t.match(readFileSync(join(pythonHome, 'reproq_executor/__init__.py'), 'utf8'), /__version__ = "\d+\.\d+\.\d+"/)
})
