import t from 'tap'
import { Reproq, step } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { misled } from '../helpers/given-workflow.js'
import { testLedger } from '../helpers/ledger.js'
import { work } from '../helpers/ledger-tasks.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const KNOBS = { heartbeatMs: 200, leaseMs: 2_000, safetyMs: 400, reconnectMs: 1_000 }
const CHAINS = 40
const CHORDS = 15
const MEMBERS = 20
const LAYERS = 15

t.test('brokers and workers are killed while workflows run: each of them ends, and nothing starts before what it waits for', async (t) => {
  const database = await testDatabase(t)
  const ledger = testLedger(t)
  const token = await givenToken(database.url, ['admin'])
  const [a, b] = await Promise.all([brokerProcess(t, database.url, KNOBS), brokerProcess(t, database.url, KNOBS)])
  const urls = [a.url, b.url]
  const worker = (name: string) => workerProcess(t, { urls, token, name, concurrency: 8, env: ledger.env })
  const [first, second] = await Promise.all([worker('first'), worker('second')])
  const reproq = new Reproq({ url: b.url, token })
  const run = () => step(work, { ms: 5 }, { maxAttempts: 20 })
  const many = (count: number) => Array.from({ length: count }, run)

  await Promise.all([
    ...Array.from({ length: CHAINS }, () => reproq.chain(many(5))),
    ...Array.from({ length: CHORDS }, () => reproq.chord(many(MEMBERS), run())),
    // Two layers, each run of the second after all of the first.
    ...Array.from({ length: LAYERS }, () => {
      const names = Array.from({ length: 6 }, (_, at) => `a${at}`)
      const below = names.map((name) => [name.replace('a', 'b'), step(work, { ms: 5 }, { maxAttempts: 20, after: names })] as const)
      return reproq.workflow(Object.fromEntries([...names.map((name) => [name, run()] as const), ...below]))
    }),
  ])
  const ended = async () => (await database.pool.query<{ count: number }>(`SELECT count(*)::int FROM task_runs WHERE status = 'SUCCESSFUL'`)).rows[0]?.count ?? 0
  await until('some have ended', async () => (await ended()) > 60)
  first.kill('SIGKILL')
  await worker('third')
  await until('more have ended', async () => (await ended()) > 200)
  a.child.kill('SIGKILL')
  await until('still more have ended', async () => (await ended()) > 350)
  second.kill('SIGKILL')
  await brokerProcess(t, database.url, KNOBS)

  await until('every run has ended', async () => (await database.pool.query(`SELECT FROM task_runs WHERE status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') LIMIT 1`)).rowCount === 0, 60_000)
  await until('every note is worked off', async () => (await misled(database.pool)).length === 0)
  const total = CHAINS + CHORDS + LAYERS
  t.strictSame((await database.pool.query('SELECT status, count(*)::int FROM reproq_workflows GROUP BY 1')).rows, [{ status: 'SUCCESSFUL', count: total }])
  const { rows } = await database.pool.query<{ edges: number; early: number }>(`
    SELECT count(*)::int AS edges, (count(*) FILTER (WHERE child.started_at < parent.finished_at))::int AS early
      FROM reproq_dependencies d JOIN task_runs child ON child.result_id = d.child_id JOIN task_runs parent ON parent.result_id = d.parent_id`)
  t.strictSame(rows, [{ edges: CHAINS * 4 + CHORDS * MEMBERS + LAYERS * 36, early: 0 }])
  const attempts = (await database.pool.query<{ more: number }>('SELECT (count(*) FILTER (WHERE attempts > 1))::int AS more FROM task_runs')).rows[0]?.more ?? 0
  t.comment(`${rows[0]?.edges} edges, ${await ended()} runs, ${attempts} of them more than once`)
  t.ok(attempts > 0, 'the killing did hit somebody')
})
