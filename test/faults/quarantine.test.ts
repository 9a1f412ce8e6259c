import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { remoteTask, Reproq, type Run } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { misplaced } from '../helpers/given.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const call = (task: string) => remoteTask<{ args: unknown[] }, unknown>(task)

async function given(t: Test, quarantineCrashes = 3) {
  const database = await testDatabase(t)
  const token = await givenToken(database.url, ['admin'])
  const { url } = await brokerProcess(t, database.url, { quarantineCrashes, leaseMs: 1_500, reconnectMs: 200, retryBaseMs: 10, retryCapMs: 10 })
  const reproq = new Reproq({ url, token })
  const final = (id: string) => until(`run ${id} is over`, async () => {
    const run: Run = await reproq.get(id)
    return run.finished_at !== null && run
  }, 30_000)
  return { database, token, url, reproq, final }
}

for (const mode of ['one-shot', 'loop', 'zygote']) {
  t.test(`a run that kills its executor (${mode}) is quarantined after three crashes, whatever attempts are left`, async (t) => {
    const { database, token, url, reproq, final } = await given(t)
    await workerProcess(t, { urls: url, token, name: 'python', concurrency: 2, tasks: { pythonMode: mode } })
    const poison = await reproq.enqueue(call('fault_tasks.kill_itself'), { args: [9] }, { maxAttempts: 20 })
    const exiting = await reproq.enqueue(call('fault_tasks.exit_silently'), { args: [3] }, { maxAttempts: 20 })
    const failing = await reproq.enqueue(call('fault_tasks.fail'), { args: [] }, { maxAttempts: 5 })
    for (const { id } of [poison, exiting]) {
      const { status, attempts, errors, last_error } = await final(id)
      t.match({ status, attempts, kinds: errors.map(({ kind }) => kind) }, { status: 'FAILED', attempts: 3, kinds: ['crashed', 'crashed', 'quarantined'] })
      t.match(last_error, /taken its worker or executor with it 3 times, so it is not run again\. The last time: ExecutorCrashed: /)
    }
    t.match(await final(failing.id), { status: 'FAILED', attempts: 5 }, 'to fail is no crash')
    t.same((await database.pool.query('SELECT DISTINCT reproq_crashes AS crashes FROM task_runs')).rows, [{ crashes: null }], 'the count ends with the run')

    // What triage does: tried anew, it has three crashes again.
    await database.pool.query(`UPDATE task_runs SET status = 'READY', attempts = 0, finished_at = NULL WHERE result_id = $1`, [poison.id])
    t.match(await final(poison.id), { status: 'FAILED', attempts: 3, errors: { length: 6 } })
    t.same(await misplaced(database.pool), [])
  })
}

t.test('a run that kills its worker runs alone from the second time on: it costs the others one attempt, and ends quarantined', async (t) => {
  const { database, token, url, reproq, final } = await given(t)
  const ledger = join(t.testdir(), 'ledger')
  const started = () => (existsSync(ledger) ? readFileSync(ledger, 'utf8').split('\n').filter(Boolean) : [])
  const startWorker = () => workerProcess(t, { urls: url, token, name: 'typescript', concurrency: 4, window: 4, tasks: 'ledger', env: { REPROQ_TEST_LEDGER: ledger } })

  const innocents = await Promise.all([1, 2].map(() => reproq.enqueue(call('ledger.work'), { args: [{ ms: 300 }] }, { maxAttempts: 20 })))
  const poison = await reproq.enqueue(call('ledger.poison'), { args: [{}] }, { maxAttempts: 20, priority: -1 })
  let worker = await startWorker()
  for (let deaths = 0; deaths < 3; deaths++) {
    await worker.exited
    if (deaths < 2) worker = await startWorker()
  }
  await startWorker()
  t.match(await final(poison.id), { status: 'FAILED', attempts: 3, errors: [{ kind: 'lease_expiry' }, { kind: 'lease_expiry' }, { kind: 'quarantined' }], last_error: /^quarantined: .*3 times/ })
  for (const { id } of innocents) {
    const { status, attempts } = await final(id)
    t.equal(status, 'SUCCESSFUL')
    t.ok(attempts <= 2, `${attempts} attempts`)
  }
  const pids = started().filter((line) => line.startsWith(`${poison.id} `)).map((line) => line.split(' ')[2])
  t.equal(new Set(pids).size, 3, 'three workers are dead')
  t.same(await misplaced(database.pool), [])
})

t.test('with 0 nothing is quarantined', async (t) => {
  const { token, url, reproq, final } = await given(t, 0)
  await workerProcess(t, { urls: url, token, name: 'python', tasks: { pythonMode: 'one-shot' } })
  const poison = await reproq.enqueue(call('fault_tasks.kill_itself'), { args: [9] }, { maxAttempts: 5 })
  const { attempts, errors } = await final(poison.id)
  t.equal(attempts, 5)
  t.equal(errors.at(-1)?.kind, 'crashed')
})
