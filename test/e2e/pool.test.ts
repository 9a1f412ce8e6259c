import t from 'tap'
import { Pool } from '../../server/src/db/pool.js'
import { testBroker } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { testProxy } from '../helpers/proxy.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

const one = { name: 'one', text: 'SELECT 1 AS one' }

t.test('a connection that carries nothing any more is given up, and the next query has another', { timeout: 20_000 }, async (t) => {
  const { url } = await testDatabase(t)
  const target = new URL(url)
  const proxy = await testProxy(t, Number(target.port))
  target.port = String(proxy.port)
  const db = new Pool(target.href, 1, { answerMs: 300 })
  t.teardown(() => db.close())
  await db.query(one, [])
  t.equal(proxy.blackhole(() => true), 1)
  await t.rejects(db.query(one, []), { code: 'DATABASE_UNAVAILABLE', message: /timeout/ })
  t.equal(db.healthyMs, 0)
  t.strictSame(await db.query(one, []), [{ one: 1 }], 'although there is place for one connection only')
})

t.test('who has no token learns nothing of the database from its absence', async (t) => {
  const database = await testDatabase(t)
  const target = new URL(database.url)
  const proxy = await testProxy(t, Number(target.port))
  target.port = String(proxy.port)
  const { url } = await testBroker(t, {}, { ...database, url: target.href })
  proxy.refuse()
  proxy.resetAll()
  const response = await fetch(`${url}/v1/runs/1`, { headers: { authorization: 'Bearer guess' } })
  t.equal(response.status, 503)
  t.ok(response.headers.get('retry-after'))
  const text = await response.text()
  t.match(text, /"code":"DATABASE_UNAVAILABLE"/)
  t.notMatch(text, /127\.0\.0\.1|ECONN|Connection|Postgres/)
  await proxy.open()
})

t.test('reads that stand still hold up no heartbeat', async (t) => {
  const { url, token, database } = await testBroker(t, { heartbeatMs: 5_000, leaseMs: 60_000, lookMs: 60_000, reapMs: 60_000 })
  const worker = await ScriptedWorker.hello(t, url, token)
  const headers = { authorization: `Bearer ${token}` }
  const blocker = await database.pool.connect()
  await blocker.query('BEGIN; LOCK TABLE task_runs')
  const answers = Array.from({ length: 15 }, async () => (await fetch(`${url}/v1/runs`, { headers })).status)
  await until('reads wait', async () => ((await database.pool.query(`SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'reproq %'`)).rowCount ?? 0) >= 3)
  // All 15 have asked by then.
  await new Promise((resolve) => setTimeout(resolve, 300))
  worker.send({ t: 'hb', n: 1, held: [] })
  t.match(await worker.next('hb_ack', 1_000), { n: 1, ok: true })
  await blocker.query('ROLLBACK')
  blocker.release()
  t.strictSame(new Set(await Promise.all(answers)), new Set([200]))
})

t.test('the front door leads to the documentation', async (t) => {
  const { url } = await testBroker(t)
  const response = await fetch(url, { redirect: 'manual' })
  t.match({ status: response.status, location: response.headers.get('location') }, { status: 302, location: '/docs' })
})
