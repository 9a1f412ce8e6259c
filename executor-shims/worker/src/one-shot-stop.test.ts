import t from 'tap'
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Stop } from './executor.js'
import { livingMembers } from './group-members.js'
import { given, marked, python, pythonHome, withoutPython, type Given } from './one-shot.test.given.js'

const linux = process.platform === 'linux' ? {} : { skip: 'reads /proc' }

/** Starts a task that says "waiting" when it is ready to be stopped. */
async function begin({ run, said }: Given, task: string, graceMs = 30_000) {
  const control = new AbortController()
  const settlement = run(task, [], control.signal, { cancel_grace_ms: graceMs })
  await said('waiting\n')
  return { settlement, stop: (stop: unknown) => control.abort(stop) }
}

t.test('code that is told to stop ends with the reason, long before its grace is over', withoutPython, async (t) => {
  for (const task of ['wait', 'wait_async', 'spin']) {
    const { settlement, stop } = await begin(given(t), task)
    stop(new Stop('timeout'))
    t.match(await settlement, { outcome: 'timeout', error: { class: 'Timeout', message: /60000 ms/, traceback: /Terminated/ } }, task)
  }
})

t.test('code that is told to stop can clean up', withoutPython, async (t) => {
  for (const task of ['wait', 'wait_async']) {
    const it = given(t)
    const { settlement, stop } = await begin(it, task)
    stop(new Stop('cancelled'))
    await settlement
    t.equal(it.log.stdout, 'waiting\ncleaned up\n', task)
  }
})

t.test('every other reason is a cancellation', withoutPython, async (t) => {
  for (const reason of ['cancelled', 'shutdown', 'lost_lease'] as const) {
    const { settlement, stop } = await begin(given(t), 'wait')
    stop(new Stop(reason))
    t.match(await settlement, { outcome: 'cancelled', error: { class: 'Cancelled' } }, reason)
  }
  const { settlement, stop } = await begin(given(t), 'wait')
  stop(undefined)
  t.match(await settlement, { outcome: 'cancelled' }, 'without a reason')
})

t.test('code that ignores SIGTERM is killed after its grace', withoutPython, async (t) => {
  const { settlement, stop } = await begin(given(t), 'ignore_sigterm', 200)
  const start = performance.now()
  stop(new Stop('cancelled'))
  t.match(await settlement, { outcome: 'cancelled', exit: { signal: 'SIGKILL' } })
  t.ok(performance.now() - start > 190, 'the grace was given')
})

t.test('a hard stop gives no grace', withoutPython, async (t) => {
  const { settlement, stop } = await begin(given(t), 'wait')
  stop(new Stop('lost_lease', true))
  t.match(await settlement, { outcome: 'cancelled', exit: { signal: 'SIGKILL' } })
})

t.test('a success that comes out before the kill is a success', withoutPython, async (t) => {
  const { settlement, stop } = await begin(given(t), 'finish_when_told')
  stop(new Stop('timeout'))
  t.same(await settlement, { outcome: 'ok', output: '"saved"' })
})

t.test('stop() kills what runs, also during a grace, and nothing starts afterwards', withoutPython, async (t) => {
  const it = given(t)
  const { settlement, stop } = await begin(it, 'ignore_sigterm')
  stop(new Stop('cancelled'))
  await it.executor.stop()
  t.match(await settlement, { outcome: 'cancelled', exit: { signal: 'SIGKILL' } })
  t.match(await it.run('add', [1, 2]), { outcome: 'cancelled' })
})

t.test('a run that was stopped before it began starts no process', async (t) => {
  const { run } = given(t, { command: ['no-such-program'] })
  t.match(await run('x', [], AbortSignal.abort(new Stop('timeout'))), { outcome: 'timeout' })
})

t.test('a run that is stopped while its payload is written starts no process', async (t) => {
  const { run } = given(t, { command: ['no-such-program'], payloadMode: 'file' })
  const control = new AbortController()
  const settlement = run('x', [], control.signal)
  control.abort(new Stop('cancelled'))
  t.match(await settlement, { outcome: 'cancelled' })
})

t.test('a process left behind holds neither the slot nor on to life', withoutPython, async (t) => {
  const it = given(t, { stdioGraceMs: 100 })
  const start = performance.now()
  t.same(await it.run('grandchild_holding_stdout'), { outcome: 'ok', output: '"left one behind"' })
  t.ok(performance.now() - start < 30_000)
})

t.test('the whole group dies with a stopped run', withoutPython, async (t) => {
  const { settlement, stop } = await begin(given(t), 'grandchild_then_wait')
  stop(new Stop('cancelled'))
  t.match(await settlement, { outcome: 'cancelled' })
})

t.test('the executor leads a group of its own', withoutPython, async (t) => {
  const [pid, group] = JSON.parse((await given(t).run('process_ids')).output ?? '') as [number, number]
  t.equal(pid, group)
  t.same(await livingMembers(group), [])
})

t.test('when the worker ends by an error of its own, its executors end too', linux, async (t) => {
  const { worker, mark } = startWorker({ command: ['sh', '-c', 'echo ready; exec sleep 600'] }, `throw new Error('a bug')`)
  const [code] = (await once(worker, 'exit')) as [number]
  t.equal(code, 1)
  await t.resolves(vanished(mark))
})

t.test('when the worker is killed, the Python executor and its children do not run on', { ...linux, ...withoutPython }, async (t) => {
  for (const task of ['child_then_wait', 'ignore_sigterm']) {
    const options = { command: [python, '-m', 'reproq_executor'], cwd: join(pythonHome, 'tests'), extraEnv: { PYTHONPATH: pythonHome } }
    const { worker, mark } = startWorker(options, `if (text.endsWith('\\n')) console.log(text)`, task)
    await once(worker.stdout, 'data')
    t.ok(marked(mark).length > 1, 'it was running')
    worker.kill('SIGKILL')
    await t.resolves(vanished(mark), task)
  }
})

/** A process that starts one attempt and does something when it hears from it. */
function startWorker(options: object, onLog: string, task = 'x') {
  const spec = { task_path: `fault_tasks.${task}`, args: [] }
  const assignment = { task: 'x', run: '1', attempt: 1, spec: JSON.stringify(spec), cancel_grace_ms: 1_000 }
  const script = `
    import { OneShotExecutor } from ${JSON.stringify(import.meta.resolve('./one-shot.js'))}
    const executor = new OneShotExecutor({ name: 'x', allow: ['*'], env: ['MARK'], ...${JSON.stringify(options)}, onLog: (assignment, stream, text) => { ${onLog} } })
    void executor.execute(${JSON.stringify(assignment)}, new AbortController().signal)`
  const id = randomUUID()
  const worker = spawn(process.execPath, ['--input-type=module', '-e', script], { env: { ...process.env, MARK: id }, stdio: ['ignore', 'pipe', 'ignore'] })
  return { worker, mark: `MARK=${id}` }
}

/** Within three times the three seconds an abandoned task has to clean up. */
async function vanished(mark: string): Promise<void> {
  for (let i = 0; i < 450; i++) {
    if (marked(mark).length === 0) return
    await sleep(20)
  }
  throw new Error(`still alive: ${marked(mark).join()}`)
}
