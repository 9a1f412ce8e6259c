import t, { type Test } from 'tap'
import { fileURLToPath } from 'node:url'
import { remoteTask, type RunHandle } from '../../sdk-ts/src/index.js'
import type { Overrides } from '../../server/src/config.js'
import { testBroker as anyBroker, type TestBroker } from '../helpers/broker.js'
import type { TestDatabase } from '../helpers/database.js'
import { testLedger } from '../helpers/ledger.js'
import { extending, insatiable, work } from '../helpers/ledger-tasks.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'
import { LEDGER_TASKS, workerProcess, type WorkerOptions } from '../helpers/worker.js'

// Running code sets its own run-time limit: in every kind of executor, through real processes, sockets and Postgres.

const SHIM = fileURLToPath(new URL('../../executor-shims/node/shim.js', import.meta.url))
// A process starts within the limit of its run, and it starts slowly on a busy machine.
const LIMIT_MS = 2_000
const LONGER_MS = 2_200
const MAX_MS = 4_500
const ENOUGH = { extendMs: 60_000, ms: LONGER_MS }
const python = (task: string) => remoteTask<{ args: unknown[] }, unknown>(`fault_tasks.${task}`)

async function ended(run: RunHandle<unknown>) {
  return until('it is over', async () => {
    const found = await run.get()
    return found.finished_at !== null && found
  }, 20_000)
}

const ONCE = { maxAttempts: 1, timeout: LIMIT_MS } as const

const KINDS: [string, Partial<WorkerOptions>][] = [
  ['TypeScript in the worker', {}],
  ['TypeScript in a process of its own', { tasks: { executor: `${process.execPath} ${SHIM} ${LEDGER_TASKS}` } }],
]
for (const [kind, options] of KINDS) {
  t.test(`${kind}: a run of two seconds that extends lives on, one that does not is stopped, and none goes beyond the maximum`, async (t) => {
    const { url, token, reproq } = await anyBroker(t, { maxTimeoutMs: MAX_MS })
    const ledger = testLedger(t)
    await workerProcess(t, { urls: url, token, name: 'typescript', concurrency: 3, ...options, env: ledger.env })
    const [lives, stopped, cut] = await Promise.all([reproq.enqueue(extending, ENOUGH, ONCE), reproq.enqueue(work, { ms: 60_000 }, ONCE), reproq.enqueue(insatiable, undefined, ONCE)])
    const { status, output } = await ended(lives)
    t.equal(status, 'SUCCESSFUL')
    t.ok(Number(output) > LONGER_MS && Number(output) <= MAX_MS, `less is granted than was asked for: ${String(output)}`)
    t.match(await ended(stopped), { status: 'FAILED', errors: [{ kind: 'timeout', message: /its timeout of 2000 ms/ }] })
    // Near the maximum either its last wish is refused, or the limit comes first.
    t.match(await ended(cut), { status: 'FAILED', errors: [{ message: /last given by extend|nothing is left of the longest time/ }] })
  })
}

for (const pythonMode of ['one-shot', 'loop', 'zygote']) {
  t.test(`Python (${pythonMode}): the same`, async (t) => {
    const { url, token, reproq } = await anyBroker(t, { maxTimeoutMs: MAX_MS })
    await workerProcess(t, { urls: url, token, name: 'python', concurrency: 3, tasks: { pythonMode } })
    const enqueue = (task: string, ...args: unknown[]) => reproq.enqueue(python(task), { args }, ONCE)
    // Warm processes start first, once.
    await reproq.enqueue(python('echo'), { args: [1] }).then((run) => run.result({ timeout: '20s' }))
    const [lives, stopped, cut] = await Promise.all([enqueue('extend_then_sleep', 60, LONGER_MS / 1_000), enqueue('wait'), enqueue('extend_for_ever')])
    const { status, output, errors } = await ended(lives)
    t.equal(status, 'SUCCESSFUL', JSON.stringify(errors))
    t.ok(Number(output) > LONGER_MS / 1_000 && Number(output) <= MAX_MS / 1_000, `in seconds, and less than was asked for: ${String(output)}`)
    t.match(await ended(stopped), { status: 'FAILED', errors: [{ kind: 'timeout' }] })
    t.match(await ended(cut), { status: 'FAILED', errors: [{ message: /last given by extend|nothing is left of the longest time/ }] })
  })
}

// ── the broker's side, with a worker that does what the test says ──

const testBroker = (t: Test, overrides: Overrides = {}, database?: TestDatabase) => anyBroker(t, { heartbeatMs: 10_000, leaseMs: 60_000, lookMs: 100, ...overrides }, database)

async function given(t: Test, { url, token, reproq }: TestBroker) {
  const worker = await ScriptedWorker.hello(t, url, token, { caps: ['resume', 'extend'] })
  const run = await reproq.enqueue(work, {}, { maxAttempts: 1, timeout: '1s' })
  const [item] = (await worker.next('runs')).items
  if (!item) throw new Error('a frame without runs')
  worker.send({ t: 'accept', l: [item.l] })
  const extend = async (l: number, timeout_ms: number) => {
    worker.send({ t: 'extend', items: [{ l, timeout_ms }] })
    return (await worker.next('extended')).items
  }
  return { worker, run, item, extend }
}

t.test('every wish is answered: with what is left, or why there is nothing', async (t) => {
  const broker = await testBroker(t, { maxTimeoutMs: 600_000 })
  const { worker, run, item, extend } = await given(t, broker)
  t.same(worker.welcome.caps, ['resume', 'extend'])
  t.same(await extend(item.l, 60_000), [{ l: item.l, timeout_ms: 60_000 }])
  t.match(await extend(item.l, 9_000_000), [{ l: item.l, timeout_ms: Number }])
  t.same(await extend(99, 1_000), [{ l: 99, code: 'unknown_handle' }])
  await broker.database.pool.query(`UPDATE task_runs SET last_attempted_at = now() - interval '1 hour'`)
  t.same(await extend(item.l, 1_000), [{ l: item.l, code: 'maximum_reached' }])
  await broker.reproq.cancel(run.id)
  await worker.next('cancel')
  t.same(await extend(item.l, 1_000), [{ l: item.l, code: 'stopping' }])
  worker.send({ t: 'result', items: [{ l: item.l, outcome: 'cancelled' }] })
  await worker.next('result_ok')
  t.same(await extend(item.l, 1_000), [{ l: item.l, code: 'unknown_handle' }])
})

t.test("a lease that somebody else has taken gets nothing, and is none of the next one's", async (t) => {
  const broker = await testBroker(t)
  const { item, extend } = await given(t, broker)
  await broker.database.pool.query(`UPDATE task_runs SET status = 'READY', leased_by = NULL`)
  t.match(await extend(item.l, 60_000), [{ code: 'stale_lease' }])
  t.same((await broker.database.pool.query('SELECT run_until FROM reproq_leases WHERE run_until IS NOT NULL')).rows, [])
})

t.test('a silent worker is given up past the limit that was granted, not before, and by another broker too', async (t) => {
  const first = await testBroker(t)
  const { worker, run, item, extend } = await given(t, first)
  await extend(item.l, 600_000)
  const second = await testBroker(t, {}, first.database)
  const { session, key } = worker.welcome
  const moved = await ScriptedWorker.hello(t, second.url, second.token, { caps: ['resume', 'extend'], resume: { session, key }, held: [{ run: item.run, lease: item.lease, state: 'running' }] })
  const [verdict] = moved.welcome.verdicts
  t.match(verdict, { verdict: 'keep' })

  await first.database.pool.query(`UPDATE task_runs SET last_attempted_at = now() - interval '1 minute'`)
  // Its own timeout is long over. Anything said before the next heartbeats are answered would be a cancel.
  for (let n = 1; n <= 5; n++) {
    moved.send({ t: 'hb', n, held: [verdict?.l] })
    t.same((await moved.next('hb_ack')).cancel, [])
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  t.equal((await run.get()).status, 'RUNNING')

  await first.database.pool.query(`UPDATE reproq_leases SET run_until = now() - interval '6 seconds'`)
  t.match((await moved.next('cancel')).items, [{ l: verdict?.l, mode: 'hard', reason: 'timeout' }])
  t.match(await ended(run), { status: 'FAILED', errors: [{ kind: 'timeout' }] })
})
