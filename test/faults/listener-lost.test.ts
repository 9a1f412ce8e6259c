import t, { type Test } from 'tap'
import type pg from 'pg'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { testProxy, type Proxy } from '../helpers/proxy.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

/** Far above what a notification takes, far below the look that would find the run without one. */
const PROMPT_MS = 1_500
const LISTENERS = `SELECT pid FROM pg_stat_activity WHERE application_name = 'reproq listener' AND datname = current_database()`

t.test('the listening connection is terminated: what was inserted meanwhile is found at once, and notifications are heard again', async (t) => {
  const database = await testDatabase(t)
  const token = await givenToken(database.url, ['admin'])
  const { url } = await brokerProcess(t, database.url, { lookMs: 600_000 })
  const worker = await ScriptedWorker.hello(t, url, token, { subs: [{ queues: ['default'], window: 1_000 }] })
  keepAlive(t, worker)
  await promptly(t, worker, database.pool, 'before')

  const { rows } = await database.pool.query<{ pid: number }>(`SELECT pg_terminate_backend(pid), pid FROM (${LISTENERS}) listener`)
  t.equal(rows.length, 1, 'only the listener was terminated')
  await promptly(t, worker, database.pool, 'inserted while nobody listened')
  await until('another listens', async () => (await listeners(database.pool)).some((pid) => pid !== rows[0]?.pid))
  await promptly(t, worker, database.pool, 'after')
})

t.test('the listening connection is lost again while it is being made, after it is there and before it listens: it listens in the end', async (t) => {
  const database = await testDatabase(t)
  const proxy = await testProxy(t, Number(new URL(database.url).port))
  const token = await givenToken(database.url, ['admin'])
  const { url } = await brokerProcess(t, through(proxy, database.url), { lookMs: 600_000 })
  const worker = await ScriptedWorker.hello(t, url, token, { subs: [{ queues: ['default'], window: 1_000 }] })
  keepAlive(t, worker)
  let resets = 0
  let heals = false
  proxy.resetsAt = (text) => text.includes('LISTEN') && ++resets > 0 && !heals
  await database.pool.query(`SELECT pg_terminate_backend(pid) FROM (${LISTENERS}) listener`)
  await until('it is lost at the worst moment, three times', () => resets >= 3)
  const unheard = await database.pool.query<{ id: string }>(`SELECT result_id::text AS id FROM reproq_enqueue('t.echo')`)
  t.notOk(await isListening(url))
  heals = true
  await until('listening again', () => isListening(url))
  await until('what nobody heard is found', () => hasRun(worker, unheard.rows[0]?.id), PROMPT_MS)
  await promptly(t, worker, database.pool, 'after')
})

t.test('a half-open listening connection is found out, also when no other can be made at first', async (t) => {
  const database = await testDatabase(t)
  const proxy = await testProxy(t, Number(new URL(database.url).port))
  const token = await givenToken(database.url, ['admin'])
  const { url, log } = await brokerProcess(t, through(proxy, database.url), { lookMs: 2_000 })
  const worker = await ScriptedWorker.hello(t, url, token, { subs: [{ queues: ['default'], window: 1_000 }] })
  keepAlive(t, worker)
  await promptly(t, worker, database.pool, 'before')

  t.equal(proxy.blackhole((greeting) => greeting.includes('reproq listener')), 1)
  proxy.refuse()
  const blackAt = performance.now()
  await until('it notices', () => log().includes('hears nothing'), 12_000)
  await until('making another fails', () => /ECONNREFUSED|could not be made/.test(log()))
  await proxy.open()
  await until('listening again', () => isListening(url), 8_000)
  t.comment(`${Math.round(performance.now() - blackAt)} ms`)
  // The look would find one in two seconds; five in a row this fast are heard.
  for (let n = 1; n <= 5; n++) await promptly(t, worker, database.pool, `after, ${n}`, 500)
})

function through(proxy: Proxy, databaseUrl: string): string {
  const url = new URL(databaseUrl)
  url.port = String(proxy.port)
  return url.href
}

async function isListening(url: string): Promise<boolean> {
  const { checks } = (await (await fetch(`${url}/readyz`)).json()) as { checks: { listening: boolean } }
  return checks.listening
}

async function listeners(pool: pg.Pool): Promise<number[]> {
  return (await pool.query<{ pid: number }>(LISTENERS)).rows.map(({ pid }) => pid)
}

/** A foreign insert, which the broker can only know from a notification, reaches a worker. */
async function promptly(t: Test, worker: ScriptedWorker, pool: pg.Pool, when: string, withinMs = PROMPT_MS): Promise<void> {
  const start = performance.now()
  const { rows } = await pool.query<{ id: string }>(`SELECT result_id::text AS id FROM reproq_enqueue('t.echo')`)
  const run = rows[0]?.id
  await until(`a worker has the run ${when}`, () => hasRun(worker, run), 20_000).catch(() => undefined)
  const ms = Math.round(performance.now() - start)
  t.ok(ms < withinMs, `${when}: leased after ${ms} ms`)
}

function hasRun(worker: ScriptedWorker, run: string | undefined): boolean {
  return worker.received.some((frame) => frame.t === 'runs' && frame.items.some((item) => item.run === run))
}

function keepAlive(t: Test, worker: ScriptedWorker): void {
  let n = 0
  const timer = setInterval(() => {
    const held = worker.received.flatMap((frame) => (frame.t === 'runs' ? frame.items.map(({ l }) => l) : []))
    worker.send({ t: 'hb', n: ++n, held })
  }, 100)
  t.teardown(() => clearInterval(timer))
}
