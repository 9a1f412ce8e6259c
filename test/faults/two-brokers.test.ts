import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess } from '../helpers/broker.js'
import { allSucceededOnce, givenAudited, histories, startedMoreThanOnce, unfinished } from '../helpers/ledger.js'
import { work } from '../helpers/ledger-tasks.js'
import { producer } from '../helpers/producer.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const KNOBS = { heartbeatMs: 400, leaseMs: 8_000, safetyMs: 1_000, reconnectMs: 5_000 }

t.test('two brokers on one database: every run is run once, whoever takes it in, and waiters and cancels cross over', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const [a, b] = await Promise.all([brokerProcess(t, database.url, KNOBS), brokerProcess(t, database.url, KNOBS)])
  const [atA, atB] = [new Reproq({ url: a.url, token }), new Reproq({ url: b.url, token })]
  const [, workerB] = await Promise.all([
    workerProcess(t, { urls: a.url, token, name: 'at-a', concurrency: 4, env: ledger.env }),
    workerProcess(t, { urls: b.url, token, name: 'at-b', concurrency: 4, queues: ['default', 'only-b'], env: ledger.env }),
  ])
  const loads = [producer(t, atA, () => ({ input: { ms: 30 } }), 'a'), producer(t, atB, () => ({ input: { ms: 30 } }), 'b')]

  const crossing = await atA.enqueue(work, { ms: 300 }, { queue: 'only-b' })
  const enqueuedAt = performance.now()
  t.match(await crossing.result({ timeout: '20s' }), { pid: workerB.pid }, 'a waiter at A has the result of a run finished through B')
  const waited = Math.round(performance.now() - enqueuedAt)
  t.ok(waited < 3_000, `and does not wait for its time to be up (${waited} ms)`)

  const held = await atA.enqueue(work, { ms: 60_000 }, { queue: 'only-b' })
  await until('it runs at B', () => ledger.startsOf(held.id).length === 1)
  t.match(await held.cancel(), { status: 'cancelling' })
  const cancelledAt = performance.now()
  await until('a cancel at A reaches the worker at B', async () => (await held.get()).status === 'CANCELLED', 5_000)
  t.comment(`cancelled after ${Math.round(performance.now() - cancelledAt)} ms`)

  await until('both producers have had enough', () => loads.every(({ acknowledged }) => acknowledged.size > 60))
  const counts = await Promise.all(loads.map((load) => load.stop()))
  await until('all is done', async () => (await unfinished(database)) === 0, 20_000)
  await database.pool.query('DELETE FROM task_runs WHERE result_id = $1', [held.id])
  const rows = await allSucceededOnce(t, database, ledger)
  t.equal(rows.length, counts.reduce((sum, { keys }) => sum + keys, 1))
  t.strictSame([...startedMoreThanOnce(ledger)], [], 'no run was started twice')
  t.strictSame(rows.filter(({ attempts }) => attempts !== 1), [])
  t.equal(new Set(rows.map(({ output }) => output?.pid)).size, 2, 'both workers had their share')
})

t.test('one of two brokers is killed: its worker goes to the other with all its leases', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const brokers = await Promise.all([brokerProcess(t, database.url, KNOBS), brokerProcess(t, database.url, KNOBS)])
  const urls = brokers.map(({ url }) => url)
  const worker = await workerProcess(t, { urls, token, name: 'mobile', concurrency: 4, env: ledger.env })
  const connectedTo = () => String(worker.said.findLast(({ event }) => event === 'connected')?.url)
  const first = brokers.find(({ url }) => connectedTo().includes(new URL(url).host))
  const second = brokers.find((broker) => broker !== first)
  if (!first || !second) throw new Error(`connected to ${connectedTo()}`)
  const reproq = new Reproq({ url: second.url, token })
  const runs = await reproq.enqueueMany(work, [4_000, 4_000, 500, 500].map((ms) => ({ input: { ms } })))
  await until('all run', () => ledger.starts().length === 4)

  first.child.kill('SIGKILL')
  const killedAt = performance.now()
  await until('the worker is at the other', () => worker.connections() === 2 && connectedTo().includes(new URL(second.url).host), KNOBS.reconnectMs)
  t.comment(`moved in ${Math.round(performance.now() - killedAt)} ms`)
  for (const run of runs) t.match(await run.result({ timeout: '10s' }), { attempt: 1, pid: worker.pid })
  await allSucceededOnce(t, database, ledger)
  t.equal(ledger.starts().length, 4, 'nothing was started again')
  t.strictSame((await histories(database)).map(({ kinds }) => kinds), runs.map(() => []))
  t.match(worker.said.findLast(({ event }) => event === 'connected'), { resumed: true }, 'it is the same session')
})
