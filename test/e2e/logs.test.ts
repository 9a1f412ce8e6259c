import t, { type Test } from 'tap'
import { remoteTask, type LogEntry } from '../../sdk-ts/src/index.js'
import { testBroker as anyBroker, type TestBroker } from '../helpers/broker.js'
import type { Overrides } from '../../server/src/config.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

const echo = remoteTask<{ args: unknown[] }, unknown>('t.echo')
/** One that does not mind that a scripted worker is silent. */
const testBroker = (t: Test, overrides: Overrides = {}) => anyBroker(t, { heartbeatMs: 10_000, leaseMs: 60_000, ...overrides })
const CAPS = ['resume', 'logs', 'progress']

/** A run that a scripted worker holds under handle 1. */
async function held(t: Test, broker: TestBroker, maxAttempts = 3) {
  const worker = await ScriptedWorker.hello(t, broker.url, broker.token, { caps: CAPS })
  const run = await broker.reproq.enqueue(echo, { args: [] }, { maxAttempts })
  const { items } = await worker.next('runs')
  const l = items[0]?.l as number
  worker.send({ t: 'accept', l: [l] })
  const print = (seq: number, text: string, more: object = {}) => worker.send({ t: 'log', items: [{ l, seq, stream: 'stdout', off: 0, text, ...more }] })
  return { worker, run, l, print, item: items[0] }
}

async function textOf({ url, token }: TestBroker, path: string, headers: Record<string, string> = {}) {
  const response = await fetch(path.startsWith('http') ? path : `${url}${path}`, { headers: { authorization: `Bearer ${token}`, ...headers } })
  return { status: response.status, type: response.headers.get('content-type'), text: await response.text() }
}

async function all(entries: AsyncIterable<LogEntry>): Promise<LogEntry[]> {
  const found: LogEntry[] = []
  for await (const entry of entries) found.push(entry)
  return found
}

t.test('what running code prints is kept in its order, and read as pages and as text where logs_uri says', async (t) => {
  const broker = await testBroker(t)
  const { worker, run, l, print } = await held(t, broker)
  t.match(worker.welcome, { caps: CAPS, limits: { log: 1_048_576, checkpoint: 262_144 } })

  print(1, 'one\n')
  print(2, 'oops\n', { stream: 'stderr' })
  print(3, 'two\n', { off: 4, dropped: 7 })
  const stored = await until('all of it is there', async () => {
    const found = await all(run.logs())
    return found.length === 3 && found
  })
  t.match(stored, [{ attempt: 1, stream: 'stdout', seq: 1, dropped: 0, text: 'one\n' }, { stream: 'stderr', text: 'oops\n' }, { seq: 3, dropped: 7, text: 'two\n' }])
  t.same((await all(run.logs({ stream: 'stderr' }))).map(({ text }) => text), ['oops\n'])
  t.same((await all(run.logs({ after: stored[1]?.id as string }))).map(({ text }) => text), ['two\n'])
  t.same(await all(run.logs({ attempt: 2 })), [])
  const page = await textOf(broker, `/v1/runs/${run.id}/logs?limit=2`)
  t.match(JSON.parse(page.text), { entries: { length: 2 }, next_cursor: stored[1]?.id })

  const uri = await until('the row says where', async () => (await broker.database.pool.query('SELECT logs_uri FROM task_runs')).rows[0].logs_uri as string)
  t.match(uri, new RegExp(`^${broker.url}/v1/logs/${run.id}\\?key=[\\w-]{22}$`))
  t.match(await textOf(broker, `/v1/runs/${run.id}/logs?format=text`), { status: 200, type: /^text\/plain/, text: 'one\noops\n\n[7 bytes are missing]\ntwo\n' })
  t.equal((await textOf(broker, `/v1/runs/${run.id}/logs?stream=stderr`, { accept: 'text/plain' })).text, 'oops\n')
  t.match(await textOf(broker, '/v1/runs/999/logs'), { status: 404, text: /RUN_NOT_FOUND/ })

  worker.send({ t: 'result', items: [{ l, outcome: 'ok' }] })
  await worker.next('result_ok')
  await broker.database.pool.query('DELETE FROM task_runs')
  t.same((await broker.database.pool.query('SELECT * FROM reproq_logs')).rows, [], 'kept as long as its run')
})

t.test('text that Postgres cannot store loses its bad characters and nothing else', async (t) => {
  const broker = await testBroker(t)
  const { worker, run, l } = await held(t, broker)
  worker.socket.send(`{"t":"log","items":[{"l":${l},"seq":1,"stream":"stdout","off":0,"text":"a\\u0000b\\ud800c"}]}`)
  t.equal((await until('it is there', async () => (await all(run.logs()))[0]))?.text, 'a\ufffdb\ufffdc')
})

t.test('no more is kept of a stream than the limit, whatever the worker says of its place; with 0 nothing is asked for', async (t) => {
  const broker = await testBroker(t, { logBytes: 100 })
  const { worker, run, print } = await held(t, broker)
  t.equal(worker.welcome.limits.log, 100)
  print(1, 'a'.repeat(90))
  print(2, 'b'.repeat(1_100), { off: 90 })
  for (let seq = 3; seq < 10; seq++) print(seq, 'c'.repeat(1_000))
  print(10, 'end', { stream: 'stderr' })
  const kept = await until('the last is there', async () => {
    const found = await all(run.logs())
    return found.at(-1)?.text === 'end' && found
  })
  t.same(kept.map(({ seq }) => seq), [1, 3, 4, 5, 10])

  const silent = await testBroker(t, { logBytes: 0 })
  const other = await held(t, silent)
  t.same(other.worker.welcome.caps, ['resume', 'progress'])
  other.print(1, 'unasked')
  other.worker.send({ t: 'result', items: [{ l: other.l, outcome: 'ok' }] })
  await other.worker.next('result_ok')
  t.same(await all(other.run.logs()), [])
})

t.test('a lease that is over stores no checkpoint; with its result a handle ends, and so does its output', async (t) => {
  const broker = await testBroker(t)
  const { worker, run, l, print } = await held(t, broker)
  await broker.database.pool.query(`SET reproq.internal = on; UPDATE task_runs SET reproq_lease_id = gen_random_uuid(); RESET reproq.internal`)
  worker.send({ t: 'progress', items: [{ l, checkpoint: '{"from":"the past"}' }] })
  worker.send({ t: 'result', items: [{ l, outcome: 'error' }] })
  t.match((await worker.next('result_no')).items, [{ code: 'stale_lease' }], 'sent after both')
  print(1, 'from the past')
  worker.send({ t: 'hb', n: 1, held: [] })
  await worker.next('hb_ack')
  t.same(await all(run.logs()), [])
  t.same((await broker.database.pool.query('SELECT reproq_checkpoint AS kept FROM task_runs')).rows, [{ kept: null }])
})

t.test('logs are followed live, over attempts, until the run is final', async (t) => {
  const broker = await testBroker(t)
  const { worker, run, l, print } = await held(t, broker, 2)
  const heard: string[] = []
  const following = (async () => {
    for await (const { attempt, text } of run.logs({ follow: true })) heard.push(`${attempt} ${text}`)
  })()
  print(1, 'first')
  await until('it is heard', () => heard.length === 1)
  worker.send({ t: 'result', items: [{ l, outcome: 'error', retry_after_ms: 0 }] })
  const { items } = await worker.next('runs')
  worker.send({ t: 'log', items: [{ l: items[0]?.l, seq: 1, stream: 'log', off: 0, text: 'second' }] })
  worker.send({ t: 'log', items: [{ l: items[0]?.l, seq: 2, stream: 'log', off: 6, text: 'last' }] })
  worker.send({ t: 'result', items: [{ l: items[0]?.l, outcome: 'ok' }] })
  await following
  t.same(heard, ['1 first', '2 second', '2 last'])
  t.match(await textOf(broker, `/v1/runs/${run.id}/logs?format=text`), { text: 'first\n--- attempt 2 ---\nsecondlast' })
})

t.test('while output cannot be stored, heartbeats and results go on, and what is dropped is counted', async (t) => {
  const broker = await testBroker(t, { logBytes: 104_857_600 })
  const { worker, run, l, print } = await held(t, broker)
  const locker = await broker.database.pool.connect()
  await locker.query('BEGIN; LOCK TABLE reproq_logs IN ACCESS EXCLUSIVE MODE')
  const text = 'x'.repeat(32_768)
  for (let seq = 1; seq <= 300; seq++) print(seq, text, { off: 0 })
  const other = await broker.reproq.enqueue(echo, { args: [] })
  const { items } = await worker.next('runs')
  worker.send({ t: 'hb', n: 1, held: [l, items[0]?.l] })
  t.match(await worker.next('hb_ack'), { n: 1, ok: true })
  worker.send({ t: 'result', items: [{ l: items[0]?.l, outcome: 'ok' }] })
  t.match((await worker.next('result_ok')).items, [{ disp: 'finalized' }])
  t.equal((await other.get()).status, 'SUCCESSFUL')
  await locker.query('COMMIT')
  locker.release()
  await until('what was in memory is stored', async () => (await all(run.logs())).length === 256)
  print(301, 'the end')
  const kept = await until('the output arrives when it can', async () => {
    const found = await all(run.logs())
    return found.at(-1)?.text === 'the end' && found
  })
  t.equal(kept.at(-1)?.dropped, (300 - 256) * text.length, 'the rest was more than a broker keeps in memory')
})

t.test('the last words of an attempt are kept also when the next one is leased before they are stored', async (t) => {
  const broker = await testBroker(t)
  const { worker, run, l, print } = await held(t, broker)
  const locker = await broker.database.pool.connect()
  await locker.query('BEGIN; LOCK TABLE reproq_logs IN ACCESS EXCLUSIVE MODE')
  print(1, 'last words')
  worker.send({ t: 'result', items: [{ l, outcome: 'error', retry_after_ms: 0 }] })
  t.match((await worker.next('runs')).items, [{ run: run.id, attempt: 2 }])
  await locker.query('COMMIT')
  locker.release()
  t.match(await until('they are there', async () => (await all(run.logs()))[0]), { attempt: 1, text: 'last words' })
})
