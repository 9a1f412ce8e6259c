import t from 'tap'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Stop } from './executor.js'
import { livingMembers } from './group-members.js'
import { givenLoop, givenRaw } from './loop.test.given.js'
import type { LoopExecutor } from './loop.js'
import { assignment, withoutPython, type Given } from './one-shot.test.given.js'

const never = new AbortController().signal
const linux = process.platform === 'linux' ? {} : { skip: 'reads /proc' }

/** Starts a task that says "waiting" when it is ready to be stopped. */
async function begin({ run, said }: Given<LoopExecutor>, task: string, graceMs = 30_000) {
  const control = new AbortController()
  const settlement = run(task, [], control.signal, { cancel_grace_ms: graceMs })
  await said('waiting\n')
  return { settlement, stop: (stop: unknown) => control.abort(stop) }
}

t.test('code that is told to stop can clean up, and the next run finds a fresh process', withoutPython, async (t) => {
  for (const task of ['wait', 'wait_async', 'progress_in_a_thread']) {
    const it = givenLoop(t)
    const { settlement, stop } = await begin(it, task)
    stop(new Stop('timeout'))
    t.match(await settlement, { outcome: 'timeout', error: { class: 'Timeout', traceback: /Terminated/ } }, task)
    t.equal(it.log.stdout, 'waiting\ncleaned up\n', task)
    t.same(await it.run('add', [1, 1]), { outcome: 'ok', output: '2' })
  }
})

t.test('code that never yields is interrupted too', withoutPython, async (t) => {
  const { settlement, stop } = await begin(givenLoop(t), 'spin')
  stop(new Stop('cancelled'))
  t.match(await settlement, { outcome: 'cancelled', error: { class: 'Cancelled' } })
})

t.test('a block that must not be interrupted is finished first', withoutPython, async (t) => {
  const it = givenLoop(t)
  const { settlement, stop } = await begin(it, 'uninterrupted')
  stop(new Stop('cancelled'))
  t.match(await settlement, { outcome: 'cancelled' })
  t.equal(it.log.stdout, 'waiting\nfinished the block\n')
})

t.test('a success that comes out before the kill stays one', withoutPython, async (t) => {
  const { settlement, stop } = await begin(givenLoop(t), 'finish_when_told')
  stop(new Stop('cancelled'))
  t.same(await settlement, { outcome: 'ok', output: '"saved"' })
})

t.test('code that ignores a stop is killed after its grace, and at once by a hard stop', withoutPython, async (t) => {
  const { settlement, stop } = await begin(givenLoop(t), 'ignore_sigterm', 200)
  const start = performance.now()
  stop(new Stop('cancelled'))
  t.match(await settlement, { outcome: 'cancelled', exit: { signal: 'SIGKILL' } })
  t.ok(performance.now() - start > 190, 'the grace was given')
  const hard = await begin(givenLoop(t), 'ignore_sigterm')
  hard.stop(new Stop('lost_lease', true))
  t.match(await hard.settlement, { outcome: 'cancelled', exit: { signal: 'SIGKILL' } })
})

t.test('the whole tree is gone when a stopped run is settled', { ...withoutPython, ...linux }, async (t) => {
  for (const task of ['child_then_wait', 'grandchild_then_wait']) {
    const it = givenLoop(t)
    const [, group] = JSON.parse((await it.run('process_ids')).output ?? '[]') as number[]
    const { settlement, stop } = await begin(it, task, 1_000)
    stop(new Stop('timeout'))
    t.match(await settlement, { outcome: 'timeout' })
    t.same(await livingMembers(group as number), [], task)
  }
})

t.test('a run that waits for a process is stopped too', withoutPython, async (t) => {
  const it = givenLoop(t)
  const { settlement, stop } = await begin(it, 'wait')
  const control = new AbortController()
  const waiting = it.run('add', [1, 1], control.signal)
  control.abort(new Stop('timeout'))
  t.match(await waiting, { outcome: 'timeout' })
  t.match(await it.executor.execute(assignment('x'), AbortSignal.abort(new Stop('cancelled'))), { outcome: 'cancelled' })
  stop(new Stop('cancelled'))
  await settlement
})

t.test('the end of the executor ends what runs and what waits', withoutPython, async (t) => {
  const it = givenLoop(t)
  const { settlement } = await begin(it, 'ignore_sigterm')
  const waiting = it.run('add', [1, 1])
  await it.executor.stop()
  t.match(await settlement, { outcome: 'cancelled', error: { message: /shut down/ } })
  t.match(await waiting, { outcome: 'cancelled', error: { message: /shut down/ } })
})

t.test('an idle process ends softly, with its exit handlers', withoutPython, async (t) => {
  const file = join(t.testdir(), 'ended')
  const it = givenLoop(t)
  await it.run('when_it_ends', [file])
  await it.executor.stop()
  t.ok(existsSync(file))
})

t.test('a worn process that does not end by itself is killed', withoutPython, async (t) => {
  const { executor } = givenRaw(t, 'lingers', { maxRuns: 1, endMs: 100 })
  const { output } = await executor.execute(assignment('x'), never)
  t.not((await executor.execute(assignment('x'), never)).output, output, 'its successor does not wait for it')
})
