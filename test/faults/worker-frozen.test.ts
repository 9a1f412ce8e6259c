import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess } from '../helpers/broker.js'
import { allSucceededOnce, givenAudited, startedMoreThanOnce, unfinished } from '../helpers/ledger.js'
import { stubborn, work } from '../helpers/ledger-tasks.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

t.test('a worker frozen beyond its lease: others finish its runs, and what it says when it thaws is refused', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const { url } = await brokerProcess(t, database.url)
  const reproq = new Reproq({ url, token })
  const frozen = await workerProcess(t, { urls: url, token, name: 'frozen', concurrency: 4, window: 4, env: ledger.env })
  const runs = await reproq.enqueueMany(stubborn, Array.from({ length: 4 }, () => ({ input: { ms: 700 } })))
  await until('all run', () => ledger.starts().length === 4)
  frozen.kill('SIGSTOP')
  const frozenAt = performance.now()

  const other = await workerProcess(t, { urls: url, token, name: 'other', concurrency: 4, env: ledger.env })
  await Promise.all(runs.map((run) => run.result({ timeout: '20s' })))
  await until('its own idea of the lease is over too', () => performance.now() - frozenAt > 2_500)
  frozen.kill('SIGCONT')
  await until('it is back', () => frozen.connections() === 2)
  await until('it has learned what it lost', () => lost(frozen.log()).size === 4)
  t.strictSame([...lost(frozen.log())].sort(), runs.map(({ id }) => id).sort())

  const rows = await allSucceededOnce(t, database, ledger)
  t.strictSame(rows.filter(({ output }) => output?.pid !== other.pid), [], 'the results are those of the other worker')
  t.strictSame(rows.map(({ attempts, kinds }) => [attempts, kinds]), runs.map(() => [2, ['lease_expiry']]))
  const last = await reproq.enqueueMany(work, Array.from({ length: 40 }, () => ({ input: { ms: 50 } })))
  await Promise.all(last.map((run) => run.result({ timeout: '20s' })))
  t.ok(ledger.starts().filter(({ pid }) => pid === frozen.pid).length > 4, 'the thawed worker works again')
})

t.test('runs that lie in the socket of a frozen worker go elsewhere, and it does not start them when it thaws', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const { url } = await brokerProcess(t, database.url)
  const reproq = new Reproq({ url, token })
  const frozen = await workerProcess(t, { urls: url, token, name: 'frozen', concurrency: 4, env: ledger.env })
  frozen.kill('SIGSTOP')
  const frozenAt = performance.now()
  await reproq.enqueueMany(work, Array.from({ length: 4 }, () => ({ input: { ms: 50 } })))
  await until('they are leased to it', async () => (await database.pool.query('SELECT FROM reproq_leases')).rowCount === 4)

  await workerProcess(t, { urls: url, token, name: 'other', concurrency: 4, env: ledger.env })
  await until('all is done', async () => (await unfinished(database)) === 0)
  await until('its lease is over', () => performance.now() - frozenAt > 2_500)
  frozen.kill('SIGCONT')
  await until('it is back', () => frozen.connections() === 2)
  const proof = await reproq.enqueueMany(work, Array.from({ length: 40 }, () => ({ input: { ms: 50 } })))
  await Promise.all(proof.map((run) => run.result({ timeout: '20s' })))

  t.strictSame([...startedMoreThanOnce(ledger)], [], 'nothing was started twice')
  const rows = await allSucceededOnce(t, database, ledger)
  // Nobody but the worker knows that they were not started, so each counts one attempt.
  t.strictSame(rows.filter(({ attempts }) => attempts > 2), [])
})

t.test('an old lease proves nothing any more: over HTTP too', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const { url } = await brokerProcess(t, database.url)
  const reproq = new Reproq({ url, token })
  const run = await reproq.enqueue(work, { ms: 3_000 })
  const scripted = await ScriptedWorker.hello(t, url, token)
  const { items } = await scripted.next('runs')
  const [old] = items
  scripted.send({ t: 'accept', l: [old?.l] })
  scripted.drop()

  const other = await workerProcess(t, { urls: url, token, name: 'other', env: ledger.env })
  await until('the other has it', () => ledger.startsOf(run.id).length === 1)
  const report = async (outcome: object) => {
    const response = await fetch(`${url}/v1/worker/results`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ items: [{ run: run.id, lease: old?.lease, ...outcome }] }),
    })
    return [response.status, await response.json()]
  }
  const outcomes = [{ outcome: 'ok', output: '"stale"' }, { outcome: 'error', error: { class: 'Stale', message: '' }, retryable: false }, { outcome: 'cancelled' }]
  for (const outcome of outcomes) t.strictSame(await report(outcome), [200, { items: [{ run: run.id, disp: 'stale_lease' }] }], `while another runs it: ${outcome.outcome}`)
  const held = [{ run: run.id, lease: old?.lease ?? '', state: 'running' as const }]
  t.match((await ScriptedWorker.hello(t, url, token, { held, subs: [] })).welcome.verdicts, [{ run: run.id, verdict: 'lost' }], 'nor does a new socket get it back')
  t.match(await run.result({ timeout: '10s' }), { pid: other.pid })
  for (const outcome of outcomes) t.strictSame(await report(outcome), [200, { items: [{ run: run.id, disp: 'already_final' }] }], `and when it is over: ${outcome.outcome}`)
  t.match((await ScriptedWorker.hello(t, url, token, { held })).welcome.verdicts, [{ run: run.id, verdict: 'lost' }])
  await allSucceededOnce(t, database, ledger)
})

/** Runs whose lease a worker says it has lost. */
function lost(log: string): Set<string> {
  return new Set([...log.matchAll(/The lease of run (\d+) is lost/g)].map(([, run]) => run as string))
}
