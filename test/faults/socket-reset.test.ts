import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess } from '../helpers/broker.js'
import { allSucceededOnce, givenAudited, startedMoreThanOnce, unfinished } from '../helpers/ledger.js'
import { work } from '../helpers/ledger-tasks.js'
import { producer } from '../helpers/producer.js'
import { testProxy } from '../helpers/proxy.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

const KNOBS = { heartbeatMs: 400, leaseMs: 8_000, safetyMs: 1_000, reconnectMs: 4_000 }

t.test('sockets reset under load, again and again: leases are kept, nothing is started or ended twice', async (t) => {
  const { database, ledger, token } = await givenAudited(t)
  const { url } = await brokerProcess(t, database.url, KNOBS)
  const proxy = await testProxy(t, Number(new URL(url).port))
  const through = `http://127.0.0.1:${proxy.port}`
  const workers = await Promise.all(['one', 'two'].map((name) => workerProcess(t, { urls: through, token, name, concurrency: 8, env: ledger.env })))
  const reproq = new Reproq({ url, token })
  const load = producer(t, reproq, (n) => ({ input: { ms: (n % 10) * 10 } }))
  const long = await reproq.enqueueMany(work, Array.from({ length: 4 }, () => ({ input: { ms: 8_000 }, priority: 100 })))
  await until('the long ones run', () => long.every(({ id }) => ledger.startsOf(id).length === 1))

  let resets = 0
  const end = performance.now() + 8_000
  while (performance.now() < end) {
    const before = load.acknowledged.size
    const back = resets + 2
    await until('both are back, and runs are on their way', () => workers.reduce((sum, worker) => sum + worker.connections(), 0) >= back && load.acknowledged.size >= before + 10)
    resets += proxy.resetAll()
  }
  t.ok(resets >= 10, `${resets} connections were reset`)
  for (const run of long) t.match(await run.result({ timeout: '20s' }), { attempt: 1 }, 'a long one ran through all of it')

  const { keys } = await load.stop()
  await until('all is done', async () => (await unfinished(database)) === 0, 20_000)
  const rows = await allSucceededOnce(t, database, ledger)
  t.equal(rows.length, keys + long.length)
  t.strictSame([...startedMoreThanOnce(ledger)], [], 'no run was started twice')
  t.strictSame(rows.filter(({ attempts, kinds }) => attempts !== 1 || kinds.length > 0), [], 'and no attempt was used up')
  const resumes = workers.flatMap(({ said }) => said).filter(({ event, resumed }) => event === 'connected' && resumed === true).length
  t.equal(resumes, resets, 'each reset is one resume: the sessions lived on')
})
