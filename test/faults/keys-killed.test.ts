import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { misplaced } from '../helpers/given.js'
import { auditKeys, keyViolations } from '../helpers/key-audit.js'
import { testLedger, unfinished } from '../helpers/ledger.js'
import { producer } from '../helpers/producer.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

t.test('brokers and a worker are killed while runs wait for keys and rates: no key is taken twice, and none stays taken', async (t) => {
  const database = await testDatabase(t)
  await auditKeys(database.pool)
  const ledger = testLedger(t)
  const token = await givenToken(database.url, ['admin'])
  const knobs = { reconnectMs: 2_000, leaseMs: 4_000 }
  const lasting = await brokerProcess(t, database.url, knobs)
  const reproq = new Reproq({ url: lasting.url, token })
  const options = { token, env: ledger.env, concurrency: 6 }
  const victims = await Promise.all([brokerProcess(t, database.url, knobs), brokerProcess(t, database.url, knobs)])
  const urls = [...victims.map(({ url }) => url), lasting.url]
  const [victim] = await Promise.all([
    workerProcess(t, { ...options, urls: urls.toReversed(), name: 'victim' }),
    workerProcess(t, { ...options, urls, name: 'one' }),
    workerProcess(t, { ...options, urls: [urls[1] as string, lasting.url], name: 'two' }),
  ])
  const load = producer(t, reproq, (n) => ({
    input: { ms: n % 25 },
    ...(n % 3 === 0 && { lockKey: `account-${n % 5}` }),
    ...(n % 3 === 1 && { concurrency: { key: 'api', limit: 2 } }),
    ...(n % 4 === 0 && { rate: { key: `customer-${n % 2}`, limit: 30, per: '1s', burst: 3 } }),
  }))
  const started = (count: number) => until(`${count} starts`, () => ledger.starts().length > count, 30_000)
  await started(20)
  victims[0]?.child.kill('SIGKILL')
  await started(50)
  victim.kill('SIGKILL')
  await started(80)
  victims[1]?.child.kill('SIGKILL')
  await started(120)
  await load.stop()
  await until('all is done', async () => (await unfinished(database)) === 0, 60_000)
  const { checks, violations } = await keyViolations(database.pool)
  t.comment(`${checks} starts of runs with keys, ${violations.length} violations`)
  t.strictSame(violations, [])
  t.ok(checks > 60)
  t.strictSame(await misplaced(database.pool), [])
})
