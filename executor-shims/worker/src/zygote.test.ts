import t from 'tap'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Stop } from './executor.js'
import { livingMembers } from './group-members.js'
import { assignment, pythonHome, withoutPython } from './one-shot.test.given.js'
import type { Progress } from './progress.js'
import { givenZygote } from './zygote.test.given.js'

const never = new AbortController().signal
const linux = process.platform === 'linux' ? {} : { skip: 'reads /proc' }

t.test('each run has a process, a session and a group of its own, and behaves as a one-shot run', withoutPython, async (t) => {
  const { executor, run, log } = givenZygote(t)
  const ids = [await run('process_ids'), await run('process_ids')].map(({ output }) => JSON.parse(output ?? '[]') as number[])
  for (const [pid, group] of ids) t.equal(pid, group)
  t.not(ids[0]?.[0], ids[1]?.[0])
  t.same(await run('add', [2, 3]), { outcome: 'ok', output: '5' })
  t.same(await run('numbers'), { outcome: 'ok', output: '[12345678901234567890,1.0,-0.0,1e+22]' })
  t.same(await run('add_later', [2, 3]), { outcome: 'ok', output: '5' })
  t.equal((await run('whoami', [], never, { attempt: 2 })).output, '["9007199254740993",2,"fault_tasks.whoami","default"]')
  t.match(await run('fail'), { outcome: 'error', error: { class: 'fault_tasks.OddError', message: 'it broke', traceback: /^Traceback[^\n]+\n +File "[^"]+fault_tasks\.py", line \d+, in fail\n/ } })
  t.same(await run('child_prints'), { outcome: 'ok', output: '"quiet"' })
  t.equal(log.stdout, 'from a child\n')
  t.match(await run('print_and_die', ['{"ok":true}']), { outcome: 'crashed' }, 'what is printed is no result')
  t.match(await run('raw_write', [3, 'x']), { error: { class: 'OSError', message: /Bad file descriptor/ } })
  t.match(await executor.execute({ ...assignment('fault_tasks.add'), spec: 'nonsense' }, never), { error: { class: 'PayloadError' } })
  t.same(await run('remember', [1]), await run('remember', [1]), 'nothing stays from one run to the next')
})

t.test('a payload of any size, by stdin or as a file', withoutPython, async (t) => {
  const { run } = givenZygote(t)
  for (const size of [4_000, 5_000, 800_000]) t.same(await run('echo', ['x'.repeat(size)]), { outcome: 'ok', output: `{"args":["${'x'.repeat(size)}"],"kwargs":{}}` }, `${size}`)
  const file = givenZygote(t, { payloadMode: 'file', extraEnv: { TMPDIR: tmpdir() } })
  const [path] = JSON.parse((await file.run('payload_file')).output ?? '[]') as string[]
  t.notOk(existsSync(path ?? ''))
})

t.test('many runs at the same time', withoutPython, async (t) => {
  const { run } = givenZygote(t)
  const met = await Promise.all(Array.from({ length: 20 }, () => run('meet', [folder, 20])))
  t.same(new Set(met.map(({ output }) => (JSON.parse(output ?? '[]') as string[]).length)), new Set([20]))
})
const folder = t.testdir()

t.test('random numbers differ from run to run', withoutPython, async (t) => {
  const { run } = givenZygote(t, {}, '--preload', 'random')
  t.not((await run('random_number')).output, (await run('random_number')).output)
})

t.test('what is preloaded is there before the first run; what cannot be is the failure of its tasks', withoutPython, async (t) => {
  const output: string[] = []
  const onOutput = (text: string) => output.push(text)
  const { run } = givenZygote(t, { onOutput }, '--preload', 'fault_tasks', '--try-preload', 'broken_tasks', '--try-preload', 'no_such_module')
  t.same([await run('loaded_here'), await givenZygote(t).run('loaded_here')], [{ outcome: 'ok', output: 'false' }, { outcome: 'ok', output: 'true' }])
  t.match(output.join(''), /no_such_module_anywhere/)
  t.notMatch(output.join(''), /No module named 'no_such_module'/)
  t.match(await givenZygote(t, {}, '--preload', 'broken_tasks').run('add'), { outcome: 'crashed', error: { class: 'ExecutorNotStarted', message: /no_such_module_anywhere/ } })
  t.match(await givenZygote(t, {}, '--module', 'no_such_executor').run('add'), { error: { class: 'ExecutorNotStarted', message: /no module 'no_such_executor'/ } })
})

t.test('a connection that a preloaded module opens is closed before the first fork', withoutPython, async (t) => {
  const folder = t.testdir({
    django: {
      '__init__.py': 'def setup(): pass\n',
      'apps.py': 'class apps:\n  ready = True\n  get_app_configs = list\n',
      'db.py': 'opened = []\nclass connections:\n  close_all = opened.clear\n',
    },
    'warm.py': 'from django.db import opened\nwarm = ["by a query"]\nopened.append("a connection")\n',
    'asks.py': 'import warm\ndef now(): return [warm.warm, warm.opened]\n',
  })
  const { executor } = givenZygote(t, { extraEnv: { PYTHONPATH: `${folder}:${pythonHome}`, DJANGO_SETTINGS_MODULE: 'x' } }, '--preload', 'warm')
  t.match(await executor.execute(assignment('asks.now'), never), { outcome: 'ok', output: '[["by a query"],[]]' })
})

t.test('any executor module runs unchanged, and answers on stdout if that is its way', withoutPython, async (t) => {
  const { executor } = givenZygote(t, {}, '--module', 'stdout_module')
  t.match(await executor.execute(assignment('x', ['é']), never), { outcome: 'ok', output: /^\{"argv": \["--result-id", "9007199254740993", "--attempt", "1", "--payload-stdin"\], "args": \["\\u00e9"\], "name": "__main__"\}$/ })
  t.match(await executor.execute(assignment('exit 3'), never), { outcome: 'crashed', exit: { code: 3 }, error: { message: /said before/ } })
})

t.test('without a result the run crashed; a crash after it is a success', withoutPython, async (t) => {
  const { run } = givenZygote(t)
  t.match(await run('exit_silently', [7]), { outcome: 'crashed', exit: { code: 7 }, error: { message: /exit code 7 .*: last words/ } })
  t.match(await run('kill_itself', [9]), { outcome: 'crashed', exit: { signal: 'SIGKILL' }, error: { message: /memory/ } })
  t.same(await run('crash_in_teardown'), { outcome: 'ok', output: '"done before the crash"' })
})

t.test('progress and checkpoints', withoutPython, async (t) => {
  const told: Progress[] = []
  const { run } = givenZygote(t, { onProgress: (_assignment, progress) => told.push(progress) })
  await run('progress_and_fail', [50])
  t.same(told, [{ pct: 50, note: 'step 50', data: '{"step":50}' }, { checkpoint: '{"after":50}' }])
  t.equal((await run('last_checkpoint', [], never, { checkpoint: '[1]' })).output, '[1]')
  t.equal((await run('last_checkpoint')).output, 'null')
})

t.test('a stop ends one run and its tree, softly and then hard', { ...withoutPython, ...linux }, async (t) => {
  const it = givenZygote(t)
  for (const [task, graceMs, exit] of [['wait', 30_000, {}], ['wait_async', 30_000, {}], ['ignore_sigterm', 200, { signal: 'SIGKILL' }], ['grandchild_then_wait', 500, {}]] as const) {
    it.log.stdout = ''
    const control = new AbortController()
    const settlement = it.run(task, [], control.signal, { cancel_grace_ms: graceMs })
    await it.said('waiting\n')
    control.abort(new Stop('timeout'))
    t.match(await settlement, { outcome: 'timeout', ...('signal' in exit && { exit }) }, task)
  }
  const hard = new AbortController()
  it.log.stdout = ''
  const settlement = it.run('child_then_wait', [], hard.signal)
  await it.said('waiting\n')
  hard.abort(new Stop('lost_lease', true))
  t.match(await settlement, { outcome: 'cancelled', exit: { signal: 'SIGKILL' } })
  t.same(await it.run('add', [1, 1]), { outcome: 'ok', output: '2' }, 'and nothing else')
})

t.test('a run that is stopped before there is a zygote never begins', withoutPython, async (t) => {
  const { run } = givenZygote(t)
  const control = new AbortController()
  const settlement = run('add', [1, 1], control.signal)
  setImmediate(() => control.abort(new Stop('cancelled')))
  t.match(await settlement, { outcome: 'cancelled' })
})

t.test('the death of the zygote crashes what runs, once each, kills it, and the next run has a new one', { ...withoutPython, ...linux }, async (t) => {
  const it = givenZygote(t)
  const parent = JSON.parse((await it.run('parent_id')).output ?? '0') as number
  const running = [it.run('child_then_wait'), it.run('ignore_sigterm')]
  await it.said('waiting\n')
  process.kill(parent, 'SIGKILL')
  for (const settlement of await Promise.all(running)) t.match(settlement, { outcome: 'crashed', error: { message: /process that had started the executor ended/ } })
  t.not((await it.run('parent_id')).output, String(parent))
})

t.test('a zygote that no longer answers is killed when a run cannot be stopped otherwise', { ...withoutPython, ...linux }, async (t) => {
  const it = givenZygote(t)
  const parent = JSON.parse((await it.run('parent_id')).output ?? '0') as number
  process.kill(parent, 'SIGSTOP')
  const control = new AbortController()
  const settlement = it.run('add', [1, 1], control.signal, { cancel_grace_ms: 100 })
  setImmediate(() => setImmediate(() => control.abort(new Stop('timeout'))))
  t.match(await settlement, { outcome: 'timeout' })
  t.same(await it.run('add', [1, 1]), { outcome: 'ok', output: '2' }, 'there is a new one')
})

t.test('a zygote that does not start costs one run each time, and is not tried again at once', withoutPython, async (t) => {
  const file = join(t.testdir(), 'sometimes.py')
  writeFileSync(file, 'import os\nos.remove(__file__)\nraise SystemExit("not today")\n')
  const { run } = givenZygote(t, { extraEnv: { PYTHONPATH: `${dirname(file)}:${pythonHome}` } }, '--try-preload', 'sometimes')
  t.match(await Promise.all([run('add', [1, 1]), run('add', [1, 1])]), [{ outcome: 'crashed', error: { class: 'ExecutorNotStarted', message: /not today/ } }, { outcome: 'ok' }])
})

t.test('after a reload runs are forked from new code, and those that go on are left alone', { ...withoutPython, ...linux }, async (t) => {
  const it = givenZygote(t)
  const { output } = await it.run('parent_id')
  const going = it.run('finish_when_told')
  await it.said('waiting\n')
  it.executor.reload()
  t.not((await it.run('parent_id')).output, output)
  const [pid] = /\d+/.exec(it.log.stderr) ?? []
  process.kill(Number(pid), 'SIGTERM')
  t.same(await going, { outcome: 'ok', output: '"saved"' })
  t.same(await livingMembers(Number(pid)), [])
})

t.test('its socket is gone with it', withoutPython, async (t) => {
  const before = process.env.TMPDIR
  const own = (process.env.TMPDIR = t.testdir())
  t.teardown(() => void (before === undefined ? delete process.env.TMPDIR : (process.env.TMPDIR = before)))
  const { executor, run } = givenZygote(t)
  await run('add', [1, 1])
  t.equal(readdirSync(own).length + (own.length > 70 ? 1 : 0), 1)
  await executor.stop()
  t.same(readdirSync(own), [])
})
