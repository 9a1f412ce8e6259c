import { Writable } from 'node:stream'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { Broker } from '../../server/src/broker.js'
import type { Overrides } from '../../server/src/config.js'
import { testBroker as anyBroker, givenToken, type TestBroker } from '../helpers/broker.js'
import { reproq } from '../helpers/cli.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

const testBroker = (t: Test, overrides: Overrides = {}, database?: TestBroker['database']) => anyBroker(t, { heartbeatMs: 10_000, leaseMs: 60_000, ...overrides }, database)

/** A run that has printed `text`, and what its row says where that is. */
async function printed(t: Test, broker: TestBroker, text: string) {
  const queue = `q${text.replace(/\W/g, '')}`
  const worker = await ScriptedWorker.hello(t, broker.url, broker.token, { worker: queue, subs: [{ queues: [queue], window: 1 }], caps: ['resume', 'logs'] })
  const run = await broker.reproq.enqueue('t', {}, { queue })
  const { items } = await worker.next('runs')
  const l = items[0]?.l as number
  worker.send({ t: 'accept', l: [l] })
  worker.send({ t: 'log', items: [{ l, seq: 1, stream: 'stdout', off: 0, text }] })
  worker.send({ t: 'log', items: [{ l, seq: 2, stream: 'stderr', off: 0, text: 'oops\n' }] })
  await until('both are stored', async () => (await broker.database.pool.query('SELECT FROM reproq_logs WHERE result_id = $1', [run.id])).rowCount === 2)
  worker.send({ t: 'result', items: [{ l, outcome: 'ok' }] })
  await worker.next('result_ok')
  return { run, uri: await uriOf(broker, run.id) }
}

const uriOf = ({ database }: TestBroker, id: string) => until('the row says where', async () => (await database.pool.query('SELECT logs_uri FROM task_runs WHERE result_id = $1', [id])).rows[0]?.logs_uri as string | null)

/** As a browser does it. */
async function open(url: string, init: RequestInit = {}) {
  const response = await fetch(url, init)
  const body = await response.text()
  return { status: response.status, headers: Object.fromEntries(response.headers), body, problem: /json/.test(response.headers.get('content-type') ?? '') ? (JSON.parse(body) as object) : undefined }
}

const GUARDED = { 'cache-control': 'no-store', 'referrer-policy': 'no-referrer', 'x-content-type-options': 'nosniff' }
const REFUSED = { status: 401, headers: { ...GUARDED, 'www-authenticate': 'Bearer' }, problem: { code: 'INVALID_LINK', detail: /\w/, hint: /reproq runs logs <id>/ } }

t.test('logs_uri opens without a token, as text that no browser takes for a page', async (t) => {
  const broker = await testBroker(t)
  const { run, uri } = await printed(t, broker, '<script>é</script>\n')
  t.match(uri, new RegExp(`^${broker.url}/v1/logs/${run.id}\\?key=[\\w-]{22}$`))
  t.match(await open(uri), { status: 200, headers: { ...GUARDED, 'content-type': 'text/plain; charset=utf-8' }, body: '<script>é</script>\noops\n' })
  t.equal((await open(`${uri}&stream=stderr`)).body, 'oops\n')
  const holder = await broker.database.pool.connect()
  await holder.query('BEGIN; LOCK TABLE reproq_logs')
  t.match(await open(uri, { method: 'HEAD' }), { status: 200, headers: { ...GUARDED, 'content-type': 'text/plain; charset=utf-8' }, body: '' })
  t.strictSame((await holder.query(`SELECT query FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)).rows, [], 'nobody reads what a HEAD does not get')
  await holder.query('ROLLBACK')
  holder.release()
  t.match(await open(uri, { method: 'DELETE' }), { status: 404, problem: { code: 'ROUTE_NOT_FOUND' } })

  const second = await testBroker(t, {}, broker.database)
  t.match(await open(uri.replace(broker.url, second.url)), { status: 200 }, 'at every broker of the database')
  await broker.database.pool.query('DELETE FROM task_runs')
  t.match(await open(uri), { status: 404, headers: GUARDED, problem: { code: 'RUN_NOT_FOUND' } }, 'as long as the run is there')
})

t.test('a key opens its own run and nothing else', async (t) => {
  const broker = await testBroker(t)
  const [one, other] = [await printed(t, broker, 'one\n'), await printed(t, broker, 'other\n')]
  const key = new URL(one.uri).searchParams.get('key') as string
  t.not(key, new URL(other.uri).searchParams.get('key'))
  const at = (id: string, given: string) => open(`${broker.url}/v1/logs/${id}?key=${given}`)
  const wrong = (key.startsWith('A') ? 'B' : 'A') + key.slice(1)
  for (const [id, given] of [[other.run.id, key], [`0${one.run.id}`, key], ['999', key], [one.run.id, wrong], [one.run.id, key.slice(1)], [one.run.id, `${key}A`], [one.run.id, `${key.slice(0, -1)}%00`], [one.run.id, '']] as const) {
    t.match(await at(id, given), REFUSED, `run ${id} with ${given}`)
  }
  t.match(await open(`${broker.url}/v1/logs/${one.run.id}`), REFUSED, 'none at all')
  for (const path of [`/v1/runs/${one.run.id}/logs`, `/v1/runs/${one.run.id}`, `/v1/runs/${one.run.id}/events`, '/v1/runs']) {
    t.match(await open(`${broker.url}${path}?key=${key}`), { status: 401, problem: { code: 'UNAUTHORIZED' } }, `${path} takes a token`)
    t.match(await open(`${broker.url}${path}`, { headers: { authorization: `Bearer ${key}` } }), { status: 401 }, `${path}: the key is none`)
  }
})

t.test('who revokes links ends those that were written before, and no later one', async (t) => {
  t.testdir()
  const broker = await testBroker(t)
  const before = await printed(t, broker, 'before\n')
  const second = await testBroker(t, {}, broker.database)
  for (const { url } of [broker, second]) t.match(await open(before.uri.replace(broker.url, url)), { status: 200 })
  t.match(await reproq(t, ['tokens', 'revoke-links'], { env: { REPROQ_DATABASE_URL: broker.database.url } }), { code: 0 })

  const after = await printed(t, broker, 'after\n')
  t.match(await open(after.uri), { status: 200, body: /after/ }, 'also of a broker that had not heard of it when the run first printed')
  t.match(await open(before.uri), REFUSED)
  await until('the other one has heard of it, before it forgets the old secret', async () => (await open(after.uri.replace(broker.url, second.url))).status === 200, 5_000)
  t.match(await open(before.uri.replace(broker.url, second.url)), REFUSED)
  await broker.database.pool.query('UPDATE reproq_log_links SET secret = DEFAULT')
  const fresh = await testBroker(t, {}, broker.database)
  t.match(await open(after.uri.replace(broker.url, fresh.url)), REFUSED, 'in SQL too')
})

t.test('turned off, the address takes a token, and links that were signed open nothing', async (t) => {
  const signing = await testBroker(t)
  const { uri } = await printed(t, signing, 'signed\n')
  const plain = await testBroker(t, { logLinks: 'off', publicUrl: 'https://tasks.example.com/' }, signing.database)
  const { run, uri: address } = await printed(t, plain, 'plain\n')
  t.equal(address, `https://tasks.example.com/v1/runs/${run.id}/logs?format=text`)
  const here = address.replace('https://tasks.example.com', plain.url)
  t.match(await open(here), { status: 401, problem: { code: 'UNAUTHORIZED' } })
  t.match(await open(here, { headers: { authorization: `Bearer ${plain.token}` } }), { status: 200, headers: { 'x-content-type-options': 'nosniff' }, body: 'plain\noops\n' })
  t.match(await open(uri.replace(signing.url, plain.url)), { ...REFUSED, problem: { code: 'INVALID_LINK', detail: /REPROQ_LOG_LINKS is off/ } })
  t.match(await open(uri), { status: 200 }, 'at the other broker it does')
})

t.test('a key is in no log, and in no answer or stream', async (t) => {
  const broker = await testBroker(t)
  const { run, uri } = await printed(t, broker, 'x\n')
  const key = new URL(uri).searchParams.get('key') as string
  let logged = ''
  const log = pino({ level: 'trace' }, new Writable({ write: (line: Buffer, _encoding, done) => done(void (logged += line.toString())) }))
  const loud = new Broker({ ...broker.config, logLinks: 'on' }, log)
  const { url } = await loud.start()
  t.teardown(() => loud.stop({ drainMs: 0 }))
  const here = uri.replace(broker.url, url)
  t.match(await open(here), { status: 200 })
  t.match(await open(here.replace('/logs/', '/logs/0')), REFUSED)
  await broker.database.pool.query('ALTER TABLE task_runs RENAME TO elsewhere')
  t.match(await open(here), { status: 500 })
  await broker.database.pool.query('ALTER TABLE elsewhere RENAME TO task_runs')
  t.match(logged, /a request failed/, 'something was logged of it')
  t.notMatch(logged, key)

  const token = await givenToken(broker.database.url, ['read'])
  for (const path of [`/v1/runs/${run.id}`, `/v1/runs/${run.id}/events`, `/v1/runs/${run.id}/logs`, '/v1/runs']) {
    t.notMatch((await open(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } })).body, key, path)
  }
})
