import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess } from '../helpers/broker.js'
import { allSucceededOnce, givenAudited, startedMoreThanOnce, unfinished } from '../helpers/ledger.js'
import { poison, work } from '../helpers/ledger-tasks.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const KNOBS = { heartbeatMs: 400, leaseMs: 10_000, safetyMs: 2_000, reconnectMs: 1_500 }
const RECOVERY_MS = KNOBS.reconnectMs + 3_000

t.test('kill -9 of a worker in the middle of 200 runs: what it held is run again by the other, the rest does not notice', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const { url } = await brokerProcess(t, database.url, KNOBS)
  const [victim] = await Promise.all(['victim', 'other'].map((name) => workerProcess(t, { urls: url, token, name, concurrency: 6, env: ledger.env })))
  if (!victim) throw new Error('no victim')
  const reproq = new Reproq({ url, token })
  await reproq.enqueueMany(work, Array.from({ length: 200 }, () => ({ input: { ms: 100 } })))
  await until('the victim has its hands full', () => ledger.starts().filter(({ pid }) => pid === victim.pid).length >= 30)

  victim.kill('SIGKILL')
  await victim.exited
  const killedAt = performance.now()
  const held = `SELECT result_id::text AS run FROM task_runs WHERE status = 'RUNNING' AND leased_by LIKE 'victim#%'`
  const victims = new Set((await database.pool.query<{ run: string }>(held)).rows.map(({ run }) => run))
  t.ok(victims.size >= 6, `it held ${victims.size} runs, running and prefetched`)
  await until('nobody holds anything for the dead', async () => (await database.pool.query(held)).rowCount === 0, RECOVERY_MS)
  const gone = performance.now() - killedAt
  t.ok(gone <= RECOVERY_MS, `back within ${RECOVERY_MS} ms (${Math.round(gone)})`)
  await until('all is done', async () => (await unfinished(database)) === 0, 20_000)

  const rows = await allSucceededOnce(t, database, ledger)
  t.equal(rows.length, 200)
  t.strictSame(rows.filter(({ run, attempts }) => attempts !== (victims.has(run) ? 2 : 1)), [], 'the kill cost what it hit one attempt, and nothing else any')
  t.strictSame(rows.filter(({ attempts, kinds }) => kinds.join() !== (attempts === 2 ? 'lease_expiry' : '')), [], 'and the reason is kept')
  const twice = startedMoreThanOnce(ledger)
  t.strictSame([...twice.keys()].filter((run) => !victims.has(run)), [], 'no run was started again that the kill did not hit')
  t.strictSame([...twice.values()].filter((starts) => starts.length > 2), [], 'and none more than once more')
  t.ok(twice.size > 0, `${twice.size} had been started by the victim`)
})

t.test('a run that kills its worker the moment it starts is counted each time, and is given up after its last attempt', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const { url } = await brokerProcess(t, database.url, { ...KNOBS, reconnectMs: 300 })
  const reproq = new Reproq({ url, token })
  const run = await reproq.enqueue(poison, {}, { maxAttempts: 2 })
  for (const name of ['first', 'second', 'third']) {
    const worker = await workerProcess(t, { urls: url, token, name, env: ledger.env })
    if (name === 'third') break
    t.match(await worker.exited, { signal: 'SIGKILL' })
    await until('its lease is over', async () => (await run.get()).status !== 'RUNNING')
  }
  const { status, attempts, errors } = await run.get()
  t.match({ status, attempts, kinds: errors.map(({ kind }) => kind) }, { status: 'FAILED', attempts: 2, kinds: ['lease_expiry', 'lease_expiry'] })
  t.equal(ledger.starts().length, 2, 'started as often as it was allowed to, and no more')
  const healthy = await reproq.enqueue(work, {})
  await healthy.result({ timeout: '10s' })
})
