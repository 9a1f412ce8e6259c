import t, { type Test } from 'tap'
import { readdirSync } from 'node:fs'
import { Stop, type Executor, type Settlement } from './executor.js'
import { givenLoop } from './loop.test.given.js'
import { given, withoutPython, type Given } from './one-shot.test.given.js'
import { givenZygote } from './zygote.test.given.js'

const linux = process.platform === 'linux' ? {} : { skip: 'reads /proc' }
const never = new AbortController().signal

/** Every way a run can go wrong, and what comes of it. */
const FAULTS: readonly [task: string, args: readonly unknown[], outcome: string, stopAfterMs?: number][] = [
  ['kill_itself', [9], 'crashed'],
  ['exit_silently', [3], 'crashed'],
  ['fail', [], 'error'],
  ['grandchild_holding_stdout', [], 'ok'],
  ['big_output', [5_000_000], 'error'],
  ['child_then_wait', [], 'timeout', 20],
  ['ignore_sigterm', [], 'timeout', 20],
  ['crash_in_teardown', [], 'ok'],
]

/** Runs `total` runs, `width` at a time; every `every`th of them is one of the faults, in turn. */
async function mixed<E extends Executor>({ run }: Given<E>, { total, width, every }: { total: number; width: number; every: number }): Promise<string[]> {
  const surprises: string[] = []
  let given = 0
  const one = async () => {
    while (given < total) {
      const at = given++
      const [task, args, outcome, stopAfterMs] = at % every === 0 ? (FAULTS[(at / every) % FAULTS.length] as (typeof FAULTS)[number]) : (['add', [at, 1], 'ok'] as const)
      const settlement = await stopped(run, task, args, stopAfterMs)
      if (settlement.outcome !== outcome || (task === 'add' && settlement.output !== String(at + 1))) surprises.push(`${task}: ${JSON.stringify(settlement).slice(0, 300)}`)
    }
  }
  await Promise.all(Array.from({ length: width }, one))
  return surprises
}

/** A stop comes when it comes: before there is a process, while it starts, or later. */
function stopped<E extends Executor>(run: Given<E>['run'], task: string, args: readonly unknown[], afterMs: number | undefined): Promise<Settlement> {
  if (afterMs === undefined) return run(task, [...args], never)
  const control = new AbortController()
  const timer = setTimeout(() => control.abort(new Stop('timeout')), afterMs)
  return run(task, [...args], control.signal, { cancel_grace_ms: 100 }).finally(() => clearTimeout(timer))
}

const openFiles = () => readdirSync('/proc/self/fd').length

function ownTemporaryFolder(t: Test): string {
  const before = process.env.TMPDIR
  const folder = (process.env.TMPDIR = t.testdir())
  t.teardown(() => void (before === undefined ? delete process.env.TMPDIR : (process.env.TMPDIR = before)))
  return folder
}

// That no process is left is what the end of every given executor looks for.
for (const [mode, make, load] of [
  ['loop', (t: Test) => givenLoop(t, { processes: 2, maxRuns: 300 }), { total: 3_000, width: 4, every: 75 }],
  ['zygote', (t: Test) => givenZygote(t), { total: 400, width: 4, every: 10 }],
  ['one-shot', (t: Test) => given(t, { payloadMode: 'file' }), { total: 40, width: 4, every: 2 }],
] as const) {
  t.test(`${mode}: after ${load.total} runs, faults among them, no file is open or left that was not before`, { ...withoutPython, ...linux }, async (t) => {
    const temporary = ownTemporaryFolder(t)
    // Node opens some files of its own with the first process.
    const first = make(t)
    await first.run('add', [1, 1])
    await first.executor.stop()
    const [files, listeners] = [openFiles(), process.listenerCount('exit')]
    const it = make(t)
    t.same(await mixed<Executor>(it, load), [])
    await it.executor.stop()
    t.equal(openFiles(), files)
    t.equal(process.listenerCount('exit'), listeners)
    t.same(readdirSync(temporary), [])
  })
}
