import t, { type Test } from 'tap'
import { Pool } from '../../server/src/db/pool.js'
import { createToken, revokeToken } from '../../server/src/http/tokens.js'
import { givenRuns } from '../helpers/given.js'
import { testBroker } from '../helpers/broker.js'
import { until } from '../helpers/wait.js'
import { refusal, ScriptedWorker } from '../helpers/scripted-worker.js'

function dbOf(t: Test, url: string): Pool {
  const db = new Pool(url, 1)
  t.teardown(() => db.close())
  return db
}

/** So that none is closed for its silence. */
function keepAlive(t: Test, { socket }: ScriptedWorker) {
  const timer = setInterval(() => socket.readyState === socket.OPEN && socket.ping(), 50)
  t.teardown(() => clearInterval(timer))
}

t.test('a worker whose token is revoked, or expires, is closed; others work on', async (t) => {
  const own = await testBroker(t, { reconnectMs: 60_000 })
  const db = dbOf(t, own.database.url)
  const revoked = await createToken(db, 'revoked', ['work:queue:default'])
  const expiring = await createToken(db, 'expiring', ['work:queue:other'], 1)
  const [first, second, third] = [
    await ScriptedWorker.hello(t, own.url, revoked, { worker: 'first' }),
    await ScriptedWorker.hello(t, own.url, expiring, { worker: 'second', subs: [{ queues: ['other'], window: 1 }] }),
    await ScriptedWorker.hello(t, own.url, own.token, { worker: 'third', subs: [{ queues: ['third'], window: 1 }] }),
  ]
  const { id } = await own.reproq.enqueue('t', {})
  const { items: [leased] } = await first.next('runs')
  first.send({ t: 'accept', l: [leased?.l] })
  for (const worker of [first, second, third]) keepAlive(t, worker)

  t.match(await second.next('error'), { code: 'token_expired', fatal: true, retry: 'backoff' })
  t.match(await second.closed, { code: 4401, reason: 'token_expired' })
  t.equal(first.socket.readyState, first.socket.OPEN)

  await revokeToken(db, 'revoked')
  const revokedAt = performance.now()
  t.match(await first.next('error'), { code: 'token_expired', fatal: true, retry: 'backoff' })
  t.match(await first.closed, { code: 4401 })
  t.ok(performance.now() - revokedAt < 2_000, 'within a few heartbeats')
  t.match(await refusal(own.url, revoked), { status: 401 }, 'nor is it let in from memory')
  const { rows } = await own.database.pool.query('SELECT result_id::text AS id FROM reproq_leases')
  t.strictSame(rows, [{ id }], 'its run stays its own while it may come back')

  await own.reproq.enqueue('t', {}, { queue: 'third' })
  t.equal((await third.next('runs')).items.length, 1)
  t.equal(third.socket.readyState, third.socket.OPEN)
})

t.test('while the database is away nobody is taken for revoked', async (t) => {
  const own = await testBroker(t)
  const db = dbOf(t, own.database.url)
  const token = await createToken(db, 'steady', ['work:queue:default'])
  const worker = await ScriptedWorker.hello(t, own.url, token)
  keepAlive(t, worker)
  await own.database.pool.query('ALTER TABLE reproq_tokens RENAME TO elsewhere')
  await new Promise((resolve) => setTimeout(resolve, 700))
  t.equal(worker.socket.readyState, worker.socket.OPEN)
  await own.database.pool.query('ALTER TABLE elsewhere RENAME TO reproq_tokens')
  await revokeToken(db, 'steady')
  t.match(await worker.closed, { code: 4401 }, 'and is found out afterwards')
})

t.test('a stream ends with its token, and no other does', async (t) => {
  const own = await testBroker(t)
  const db = dbOf(t, own.database.url)
  const [revoked, steady] = [await createToken(db, 'revoked reader', ['read']), await createToken(db, 'steady reader', ['read'])]
  const [run] = await givenRuns(db, { queue: 'nobody' })
  const open = async (path: string, token: string) => {
    const { body } = await fetch(`${own.url}/v1/runs/${run}/${path}`, { headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream' } })
    if (!body) throw new Error('there is no stream')
    let isOver = false
    void (async () => {
      for await (const _ of body);
      isOver = true
    })()
    return () => isOver
  }
  const streams = [await open('events', revoked), await open('logs', revoked)]
  const other = await open('events', steady)
  await revokeToken(db, 'revoked reader')
  await until('both have ended', () => streams.every((isOver) => isOver()))
  t.equal(other(), false)
  await own.broker.stop({ drainMs: 0 })
  await until('the broker stops', other)
})
