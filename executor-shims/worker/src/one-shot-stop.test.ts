import t from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Stop } from './executor.js'
import { livingMembers } from './group-members.js'
import { given, marked, withoutPython, type Given } from './one-shot.test.given.js'

/** Starts a task that says "waiting" when it is ready to be stopped. */
async function begin({ run, said }: Given, task: string, graceMs = 30_000) {
  const control = new AbortController()
  const settlement = run(task, [], control.signal, { cancel_grace_ms: graceMs })
  await said('waiting')
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

t.test('when the worker ends by an error of its own, its executors end too', { skip: process.platform !== 'linux' && 'reads /proc' }, async (t) => {
  const script = `
    import { OneShotExecutor } from ${JSON.stringify(import.meta.resolve('./one-shot.js'))}
    const it = new OneShotExecutor({ name: 'x', command: ['sh', '-c', 'echo ready; exec sleep 600'], allow: ['*'], env: ['MARK'], onLog: () => { throw new Error('a bug') } })
    void it.execute({ task: 'x', run: '1', attempt: 1, spec: '{}', cancel_grace_ms: 1000 }, new AbortController().signal)`
  const mark = `MARK=${process.pid}-${Date.now()}`
  const worker = spawn(process.execPath, ['--input-type=module', '-e', script], { env: { ...process.env, MARK: mark.slice(5) }, stdio: 'ignore' })
  const [code] = (await once(worker, 'exit')) as [number]
  t.equal(code, 1)
  await t.resolves(vanished(mark))
})

async function vanished(mark: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    if (marked(mark).length === 0) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error(`still alive: ${marked(mark).join()}`)
}
