import t from 'tap'
import { Pool } from '../../server/src/db/pool.js'
import { testBroker } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { testProxy } from '../helpers/proxy.js'

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
