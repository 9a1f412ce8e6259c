import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { allSucceededOnce, auditTransitions, startedMoreThanOnce, testLedger, unfinished } from '../helpers/ledger.js'
import { work } from '../helpers/ledger-tasks.js'
import { ownPostgres } from '../helpers/own-postgres.js'
import { plainProducer, producer } from '../helpers/producer.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const RESUME_MS = 5_000

t.test('Postgres stops and starts under load: the broker says 503 meanwhile, workers go on, and nothing is lost or done twice', async (t) => {
  const database = await ownPostgres(t)
  await auditTransitions(database)
  const ledger = testLedger(t)
  const token = await givenToken(database.url, ['admin'])
  const { url, child } = await brokerProcess(t, database.url, { heartbeatMs: 400, leaseMs: 15_000, safetyMs: 1_000, reconnectMs: 2_000 })
  const workers = await Promise.all(['one', 'two'].map((name) => workerProcess(t, { urls: url, token, name, concurrency: 4, env: ledger.env })))
  const reproq = new Reproq({ url, token })
  const load = producer(t, reproq, (n) => ({ input: { ms: 20 + (n % 5) * 20 } }))
  const plain = plainProducer(t, reproq, (n) => ({ input: { ms: 20 + (n % 5) * 20 } }))
  const long = await reproq.enqueueMany(work, [3_000, 3_500].map((ms) => ({ input: { ms }, priority: 100 })))
  await until('the long ones run', () => long.every(({ id }) => ledger.startsOf(id).length === 1))
  await until('the load goes on', () => load.acknowledged.size > 30 && plain.acknowledged.size > 30)

  await database.stop()
  const ask = (path: string, init: RequestInit = {}) => fetch(url + path, { ...init, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' } })
  const refused = await Promise.all([ask('/v1/runs', { method: 'POST', body: '{"task":"ledger.work","input":{}}' }), ask('/v1/runs/1'), ask('/v1/runs')])
  for (const response of refused) {
    t.match(response, { status: 503 })
    t.match(response.headers.get('retry-after'), /^[1-9]\d*$/)
    t.match(await response.json(), { code: 'DATABASE_UNAVAILABLE' })
  }
  t.match(await ask('/readyz'), { status: 503 })
  t.match(await ask('/healthz'), { status: 200 }, 'alive, so that nobody restarts it')
  await until('the long ones end meanwhile', () => long.every(({ id }) => workers.some((worker) => worker.settled(id))))

  await database.start()
  const startedAt = performance.now()
  const first = await reproq.enqueue(work, {}, { idempotencyKey: 'after the outage', priority: 1_000 })
  await first.result({ timeout: '10s' })
  const resumed = Math.round(performance.now() - startedAt)
  t.ok(resumed < RESUME_MS, `work again ${resumed} ms after Postgres accepts connections`)
  t.match(await until('ready again', async () => (await ask('/readyz')).status === 200), true)
  t.equal(child.exitCode, null, 'it was the same broker all the time')

  const answered = plain.acknowledged.size
  await until('and without keys too', () => plain.acknowledged.size > answered + 10)
  const [{ keys, acknowledged }, keyless] = await Promise.all([load.stop(), plain.stop()])
  await until('all is done', async () => (await unfinished(database)) === 0, 20_000)
  const rows = await allSucceededOnce(t, database, ledger)
  const without = rows.length - keys - 3
  t.ok(keyless.unanswered > 0, `${keyless.unanswered} enqueues without a key had no answer`)
  t.ok(without >= keyless.acknowledged.size && without <= keyless.acknowledged.size + keyless.unanswered, `one run for each key, and ${without} without: all ${keyless.acknowledged.size} that were answered, and no more than were asked for`)
  t.strictSame([...acknowledged, ...keyless.acknowledged].filter((id) => !rows.some(({ run }) => run === id)), [], 'every acknowledged enqueue is there')
  t.strictSame([...startedMoreThanOnce(ledger)], [], 'no run was started twice')
  t.strictSame(rows.filter(({ attempts, kinds }) => attempts !== 1 || kinds.length > 0), [], 'and no attempt was used up')
  t.comment(`resumed after ${resumed} ms; ${without - keyless.acknowledged.size} of ${keyless.unanswered} unanswered enqueues were stored`)
})

t.test('an outage longer than the lease: workers stop what they can no longer trust, and nobody is declared dead for it', async (t) => {
  const database = await ownPostgres(t)
  await auditTransitions(database)
  const ledger = testLedger(t)
  const token = await givenToken(database.url, ['admin'])
  const knobs = { heartbeatMs: 400, leaseMs: 2_500, safetyMs: 500, reconnectMs: 1_500 }
  const { url } = await brokerProcess(t, database.url, knobs)
  const workers = await Promise.all(['one', 'two'].map((name) => workerProcess(t, { urls: url, token, name, concurrency: 4, env: ledger.env })))
  const reproq = new Reproq({ url, token })
  await reproq.enqueueMany(work, Array.from({ length: 8 }, () => ({ input: { ms: 6_000 } })))
  await until('all run', () => ledger.starts().length === 8)

  await database.stop()
  const stoppedAt = performance.now()
  await until('the workers have given up', () => workers.every((worker) => worker.log().includes('No broker has confirmed the leases in time')))
  await until('every session has expired', () => performance.now() - stoppedAt > knobs.leaseMs + 500)
  await database.start()

  await until('all is done', async () => (await unfinished(database)) === 0, 25_000)
  const rows = await allSucceededOnce(t, database, ledger)
  t.strictSame(rows.filter(({ attempts, kinds }) => attempts !== 1 || kinds.length > 0), [], 'no session was reaped: the interrupted attempts were given back')
  t.equal(ledger.starts().length, 16, 'each interrupted run started once more')
  t.ok(workers.every((worker) => worker.connections() === 1), 'over the same connections')
})
