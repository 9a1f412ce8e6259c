import t from 'tap'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Stop } from './executor.js'
import { givenLoop, givenRaw } from './loop.test.given.js'
import { assignment, withoutPython } from './one-shot.test.given.js'
import type { Progress } from './progress.js'

const never = new AbortController().signal
const linux = process.platform === 'linux' ? {} : { skip: 'reads /proc' }

t.test('runs of one process follow each other, and each has what it was given', withoutPython, async (t) => {
  const { executor, run } = givenLoop(t)
  const [first, second] = [await run('process_ids'), await run('process_ids')]
  t.same(first, second, 'one process')
  t.same(await run('add', [2, 3]), { outcome: 'ok', output: '5' })
  t.equal((await run('whoami', [], never, { attempt: 2 })).output, '["9007199254740993",2,"fault_tasks.whoami","default"]')
  t.match(await run('fail'), { outcome: 'error', error: { class: 'fault_tasks.OddError', message: 'it broke', traceback: /in fail\n +raise OddError/ } })
  t.match(await run('fail_for_good'), { error: { class: 'reproq_executor.NonRetryableError' }, retryable: false })
  t.match(await run('call_exit', [0]), { outcome: 'error', error: { class: 'SystemExit' } })
  t.match(await executor.execute({ ...assignment('fault_tasks.add'), spec: 'nonsense' }, never), { error: { class: 'PayloadError' }, retryable: false })
  t.same(await run('add_later', [2, 3]), { outcome: 'ok', output: '5' })
  t.same(await run('process_ids'), first, 'and no failure has cost the process')
})

t.test('there are as many processes as are needed, up to the limit', withoutPython, async (t) => {
  const folder = t.testdir()
  const { run } = givenLoop(t, { processes: 2 })
  const one = await run('process_ids')
  t.same(await run('process_ids'), one, 'one is enough for runs that follow each other')
  const met = await Promise.all([1, 2, 3, 4].map(() => run('meet', [folder, 2])))
  t.equal((JSON.parse(met[3]?.output ?? '[]') as string[]).length, 2)
})

t.test('the text of a result is not touched', withoutPython, async (t) => {
  t.same(await givenLoop(t).run('numbers'), { outcome: 'ok', output: '[12345678901234567890,1.0,-0.0,1e+22]' })
  t.same(await givenRaw(t, 'exact').run('x'), { outcome: 'ok', output: '[12345678901234567890, 1.0]' })
})

t.test('what a run prints, in whatever way, is its log and nobody else’s', withoutPython, async (t) => {
  const logs: Record<string, string> = {}
  const { executor } = givenLoop(t, { onLog: ({ run }, stream, text) => (logs[`${run} ${stream}`] = (logs[`${run} ${stream}`] ?? '') + text) })
  const run = (id: string, task: string, args: unknown[]) => executor.execute({ ...assignment(`fault_tasks.${task}`, args), run: id }, never)
  t.same(await run('1', 'print_all', ['one']), { outcome: 'ok', output: '1' })
  t.same(await run('2', 'raw_write', [1, '{"t":"done","id":"2","ok":true,"return":"forged"}\n']), { outcome: 'ok', output: '"quiet"' })
  t.same(await run('3', 'child_prints', []), { outcome: 'ok', output: '"quiet"' })
  t.match(await run('4', 'raw_write', [3, 'x']), { error: { class: 'OSError', message: /Bad file descriptor/ } }, 'the channel is not open to user code')
  await run('5', 'flood', [2, 300_000])
  t.equal(logs['5 stderr']?.length, 262_144)
  t.same(await run('6', 'read_stdin', []), { outcome: 'ok', output: '""' }, 'nor are the requests')
  t.match(logs, { '1 stdout': 'one\n', '2 stdout': /forged/, '3 stdout': 'from a child\n' })
})

t.test('what a run changes around it does not reach the next', withoutPython, async (t) => {
  const { run, log } = givenLoop(t)
  await run('change_surroundings')
  t.same(await run('add', [1, 2]), { outcome: 'ok', output: '3' })
  t.match(await run('nowhere'), { error: { message: /has no attribute/ } }, 'the folder is the old one')
  t.equal(log.stderr, '')
})

t.test('a crash costs one run, and its last words say why', withoutPython, async (t) => {
  const { run } = givenLoop(t, { processes: 2 })
  const all = await Promise.all([run('add', [1, 1]), run('kill_itself', [9]), run('add', [2, 2]), run('exit_silently', [7]), run('add', [3, 3])])
  t.match(all, [{ output: '2' }, { outcome: 'crashed', exit: { signal: 'SIGKILL' } }, { output: '4' }, { outcome: 'crashed', exit: { code: 7 }, error: { message: /exit code 7 .*: last words/ } }, { output: '6' }])
})

t.test('a crash after the result is a success', withoutPython, async (t) => {
  const { run } = givenLoop(t, { maxRuns: 1 })
  t.same(await run('crash_in_teardown'), { outcome: 'ok', output: '"done before the crash"' })
  t.same(await run('add', [1, 1]), { outcome: 'ok', output: '2' })
})

t.test('processes are replaced after a number of runs, by age, by memory, and when they ask for it', { ...withoutPython, ...linux }, async (t) => {
  const pids = async (options: Parameters<typeof givenLoop>[1], task = 'leak', args: unknown[] = [0]) => {
    const { run } = givenLoop(t, options)
    return [await run(task, args), await run(task, args), await run(task, args)].map(({ output }) => output)
  }
  const [a, b, c] = await pids({ maxRuns: 2 })
  t.ok(a === b && b !== c, 'two runs each')
  t.equal(new Set(await pids({ maxAgeMs: 1 })).size, 3)
  t.equal(new Set(await pids({ maxRssMb: 50 }, 'leak', [60])).size, 3)
  t.equal(new Set(await pids({ maxRssMb: 50 })).size, 1)
  const { run } = givenRaw(t, 'recycles')
  t.not((await run('x')).output, (await run('x')).output)
})

t.test('a run that leaves a process behind has used its process up', { ...withoutPython, ...linux }, async (t) => {
  const { run } = givenLoop(t)
  const before = await run('process_ids')
  t.same(await run('grandchild_holding_stdout'), { outcome: 'ok', output: '"left one behind"' })
  t.not((await run('process_ids')).output, before.output)
})

t.test('a result that cannot be kept, or is none, is that run’s failure', withoutPython, async (t) => {
  const { run } = givenLoop(t, { maxOutputBytes: 1_000 })
  t.match(await run('nan'), { error: { class: 'InvalidOutput', message: /\[1\]\['deep'\] is nan/ }, retryable: false })
  t.match(await run('nul'), { error: { class: 'InvalidOutput' }, retryable: false })
  for (const size of [999, 5_000_000]) t.match(await run('big_output', [size]), { outcome: 'error', error: { class: 'OutputTooLarge' }, retryable: false }, `${size}`)
  t.same(await run('add', [1, 1]), { outcome: 'ok', output: '2' })
  const raw = (text: string) => givenRaw(t, 'raw', {}, Buffer.from(text, 'latin1').toString('hex')).run('x')
  t.match(await raw('{"t":"done"\n'), { outcome: 'error', error: { class: 'InvalidOutput', message: /not JSON/ } })
  t.match(await raw('{"t":"done","id":"1","ok":true,"return":"\xff"}\n'), { outcome: 'error', error: { class: 'InvalidOutput', message: /UTF-8/ } })
  t.match(await raw('{"t":"done","id":"1"}\n'), { outcome: 'error', error: { class: 'InvalidOutput', message: /"ok"/ } })
})

t.test('a second answer to one run uses the process up; answers to runs nobody gave mean nothing', withoutPython, async (t) => {
  const twice = givenRaw(t, 'twice')
  const answers = [await twice.run('x'), await twice.run('x'), await twice.run('x')].map(({ output }) => output)
  t.ok(new Set(answers).size > 1, 'noticed at the latest while the next run goes on')
  for (const answer of answers) t.match(answer, /^\d+$/, 'the first answer counts')
  const { run } = givenRaw(t, 'strangers')
  t.equal((await run('x')).output, (await run('x')).output)
})

t.test('an executor that does not start costs a run each time, and is not tried again at once', withoutPython, async (t) => {
  t.match(await givenRaw(t, 'broken').run('x'), { outcome: 'crashed', retryable: true, error: { class: 'ExecutorNotStarted', message: /exit code 1 before it was ready: no module named shop/, traceback: /shop/ } })
  t.match(await givenRaw(t, 'old').run('x'), { error: { class: 'ExecutorNotStarted', message: /version 0 .* version 1/ } })
  t.match(await givenRaw(t, 'silent', { startTimeoutMs: 200 }).run('x'), { error: { class: 'ExecutorNotStarted', message: /not ready within 200 ms/ } })
  t.match(await givenLoop(t, { command: ['no-such-program'] }).run('x'), { error: { class: 'ExecutorNotStarted', message: /no program "no-such-program"/ } })
  t.match(await givenLoop(t, { command: ['a\0b'] }).run('x'), { error: { class: 'ExecutorNotStarted' } })

  const file = join(t.testdir(), 'failures')
  writeFileSync(file, 'xx')
  const { run } = givenRaw(t, 'sometimes_broken', {}, file)
  const start = performance.now()
  t.match(await Promise.all([run('x'), run('x'), run('x')]), [{ outcome: 'crashed' }, { outcome: 'crashed' }, { outcome: 'ok' }])
  t.ok(performance.now() - start > 740, 'it waited 250 ms, then 500 ms')
})

t.test('progress comes while the run goes on, and its last checkpoint is there for the next attempt', withoutPython, async (t) => {
  const told: Progress[] = []
  const { run } = givenLoop(t, { onProgress: (_assignment, progress) => told.push(progress) })
  t.match(await run('progress_and_fail', [25, 150]), { outcome: 'error', error: { message: 'None' } })
  t.same(told, [{ pct: 25, note: 'step 25', data: '{"step":25}' }, { checkpoint: '{"after":25}' }, { pct: 100, note: 'step 150', data: '{"step":150}' }, { checkpoint: '{"after":150}' }])
  t.equal((await run('last_checkpoint', [], never, { checkpoint: told[3]?.checkpoint ?? '' })).output, '{"after":150}')
  t.equal((await run('last_checkpoint')).output, 'null', 'it was for that run alone')
})

t.test('a process that says it is concurrent gets several runs, and a stop ends only one of them', withoutPython, async (t) => {
  const { executor, said } = givenRaw(t, 'concurrent', { runsPerProcess: 2 })
  const other = () => executor.execute(assignment('x'), never)
  const before = await other()
  const control = new AbortController()
  const held = executor.execute(assignment('hold'), control.signal)
  await said('waiting')
  t.same(await other(), before, 'meanwhile')
  control.abort(new Stop('lost_lease'))
  t.same(await held, { outcome: 'ok', output: '"lost_lease"' })
  t.same(await other(), before, 'the process goes on')
})

t.test('after a reload the next run gets new code', withoutPython, async (t) => {
  const { executor, run } = givenLoop(t)
  const before = await run('process_ids')
  executor.reload()
  t.not((await run('process_ids')).output, before.output)
})

t.test('a task the allow-list does not cover is refused, and an executor that was stopped runs nothing', withoutPython, async (t) => {
  const { executor, run } = givenLoop(t, { allow: ['shop.'] })
  t.match(await run('add', [1, 1]), { outcome: 'rejected', error: { class: 'SecurityViolation' } })
  await executor.stop()
  t.match(await executor.execute(assignment('shop.pay'), never), { outcome: 'cancelled' })
})
