import { once } from 'node:events'
import { request, type IncomingHttpHeaders } from 'node:http'
import t, { type Test } from 'tap'
import { SUBPROTOCOL, type BrokerFrameOf, type ErrorCode, type WorkerFrameOf } from '../../protocol/src/index.js'
import { givenToken, testBroker, type TestBroker } from '../helpers/broker.js'
import { helloFrame, ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

/** Nobody here is closed for silence unless the test is about it. */
const PATIENT = { heartbeatMs: 60_000, leaseMs: 600_000, reconnectMs: 60_000 }

/** A worker that behaves, beside the one that does not. */
async function bystanderOf(t: Test, { url, token }: TestBroker) {
  const worker = await ScriptedWorker.hello(t, url, token, { instance: 'bystander', subs: [{ queues: ['bystander'], window: 5 }] })
  let n = 0
  return async () => {
    worker.send({ t: 'hb', n: ++n, held: [] })
    t.match(await worker.next('hb_ack'), { n, ok: true, lost: [] }, 'another worker does not notice')
  }
}

/** The last words of the broker, and the close. */
async function goodbyeTo(worker: ScriptedWorker) {
  const { code, reason } = await worker.closed
  const last = worker.received.at(-1)
  return { code, reason, error: last?.t === 'error' ? last : undefined }
}

function expectGoodbye(t: Test, { code, reason, error }: Awaited<ReturnType<typeof goodbyeTo>>, closeCode: number, errorCode: ErrorCode, retry: BrokerFrameOf['error']['retry'], what?: string) {
  t.match({ code, reason, error }, { code: closeCode, reason: errorCode, error: { t: 'error', code: errorCode, fatal: true, retry, message: /\w+ \w+/ } }, what ?? errorCode)
}

/** An HTTP request to the worker endpoint, upgrade or not, that is expected to be refused. */
async function refused(url: string, headers: Record<string, string>): Promise<{ status: number; headers: IncomingHttpHeaders; body: Record<string, unknown> }> {
  const asked = request(`${url}/v1/worker`, { headers, agent: false })
  asked.end()
  const [response] = (await once(asked, 'response')) as [import('node:http').IncomingMessage]
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return { status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(text) as Record<string, unknown> }
}

const upgradeHeaders = (token: string, more: Record<string, string> = {}) => ({
  connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-protocol': SUBPROTOCOL, authorization: `Bearer ${token}`, ...more,
})

t.test('what is no frame, or no frame for now, ends the connection with its reason, and nobody else is touched', async (t) => {
  const own = await testBroker(t, PATIENT)
  const unaffected = await bystanderOf(t, own)
  const hello = JSON.stringify(helloFrame({ instance: 'fuzz' }))
  const rows: [what: string, messages: (string | Buffer)[], code: ErrorCode][] = [
    ['no JSON', ['{"t":'], 'bad_json'],
    ['no JSON after hello', [hello, 'hello'], 'bad_json'],
    ['an empty message', [''], 'bad_json'],
    ['an array', ['[]'], 'invalid_frame'],
    ['null', ['null'], 'invalid_frame'],
    ['a string', ['"hello"'], 'invalid_frame'],
    ['an object without t', ['{}'], 'invalid_frame'],
    ['t is a number', ['{"t":1}'], 'invalid_frame'],
    ['a hello without its fields', ['{"t":"hello"}'], 'invalid_frame'],
    ['a hello with a wrong type', [JSON.stringify({ ...helloFrame(), subs: 'default' })], 'invalid_frame'],
    ['a heartbeat with a wrong type', [hello, '{"t":"hb","n":"1","held":[]}'], 'invalid_frame'],
    ['a result with an outcome that is none', [hello, '{"t":"result","items":[{"l":1,"outcome":"fine"}]}'], 'invalid_frame'],
    ['a heartbeat before hello', ['{"t":"hb","n":1,"held":[]}'], 'wrong_phase'],
    ['goodbye before hello', ['{"t":"bye","reason":"x"}'], 'wrong_phase'],
    ['hello twice, before the welcome', [hello, hello], 'wrong_phase'],
    ['a binary message', [Buffer.from(hello)], 'binary_frame'],
  ]
  for (const [what, messages, code] of rows) {
    const worker = await ScriptedWorker.connect(t, own.url, own.token)
    for (const message of messages) worker.socket.send(message)
    expectGoodbye(t, await goodbyeTo(worker), 4400, code, 'backoff', what)
    await unaffected()
  }
  const twice = await ScriptedWorker.hello(t, own.url, own.token, { instance: 'twice' })
  twice.send(helloFrame({ instance: 'twice' }))
  expectGoodbye(t, await goodbyeTo(twice), 4400, 'wrong_phase', 'backoff', 'hello twice, after the welcome')
  const left = await ScriptedWorker.hello(t, own.url, own.token, { instance: 'left' })
  left.send({ t: 'bye', reason: 'done' })
  t.match(await left.closed, { code: 1000, reason: 'bye' }, 'goodbye is answered with a normal close')
  await unaffected()
})

t.test('a frame that this version does not know is complained about, and the connection stays', async (t) => {
  const own = await testBroker(t, PATIENT)
  const early = await ScriptedWorker.connect(t, own.url, own.token)
  early.send({ t: 'from_the_future' })
  t.match(await early.next('error'), { code: 'unknown_frame', fatal: false, message: /from_the_future/ })
  early.send(helloFrame())
  t.match(await early.next('welcome'), { resumed: false })
  early.send({ t: 'toString' })
  t.match(await early.next('error'), { code: 'unknown_frame', fatal: false })
  early.send({ t: 'hb', n: 1, held: [], field_from_the_future: 1 })
  t.match(await early.next('hb_ack'), { n: 1, ok: true }, 'unknown fields are ignored')
})

t.test('a frame above the limit gets an error it can read; one far above ends the socket at once', async (t) => {
  const own = await testBroker(t, { ...PATIENT, frameBytes: 20_000, payloadBytes: 5_000 })
  const unaffected = await bystanderOf(t, own)
  const padded = (length: number) => {
    const text = JSON.stringify({ t: 'hb', n: 1, held: [], pad: '' })
    return text.replace('"pad":""', `"pad":"${'x'.repeat(length - text.length)}"`)
  }
  const worker = await ScriptedWorker.hello(t, own.url, own.token)
  t.equal(worker.welcome.limits.frame, 20_000)
  worker.socket.send(padded(20_000))
  t.match(await worker.next('hb_ack'), { ok: true }, 'at the limit')
  worker.socket.send(padded(20_001))
  expectGoodbye(t, await goodbyeTo(worker), 4413, 'frame_too_large', 'backoff')

  const wide = await ScriptedWorker.hello(t, own.url, own.token, { instance: 'wide' })
  wide.send({ t: 'hb', n: 1, held: [], pad: 'é'.repeat(12_000) })
  expectGoodbye(t, await goodbyeTo(wide), 4413, 'frame_too_large', 'backoff', 'the limit counts bytes')

  const huge = await ScriptedWorker.hello(t, own.url, own.token, { instance: 'huge' })
  huge.socket.send(padded(200_000))
  t.match(await huge.closed, { code: 1009 })
  await unaffected()
})

t.test('hello comes in time, counted from the connect; pings are no hello', async (t) => {
  const own = await testBroker(t, { ...PATIENT, helloMs: 300 })
  const worker = await ScriptedWorker.connect(t, own.url, own.token)
  const pinging = setInterval(() => {
    worker.socket.ping()
    worker.send({ t: 'not_hello' })
  }, 50)
  t.teardown(() => clearInterval(pinging))
  expectGoodbye(t, await goodbyeTo(worker), 4408, 'hello_timeout', 'backoff')
})

t.test('what may not connect is refused before the upgrade, as HTTP that a person can read', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { url, token } = own
  const unaffected = await bystanderOf(t, own)
  const producer = await givenToken(own.database.url, ['enqueue', 'read'])
  const without = (name: string) => Object.fromEntries(Object.entries(upgradeHeaders(token)).filter(([key]) => key !== name))
  const rows: [what: string, headers: Record<string, string>, status: number, code: string][] = [
    ['no token', without('authorization'), 401, 'UNAUTHORIZED'],
    ['an unknown token', upgradeHeaders('rq_unknown'), 401, 'UNAUTHORIZED'],
    ['another scheme', upgradeHeaders(token, { authorization: `Basic ${token}` }), 401, 'UNAUTHORIZED'],
    ['a token without work', upgradeHeaders(producer), 403, 'FORBIDDEN'],
    ['a page in a browser', upgradeHeaders(token, { origin: 'https://evil.example' }), 403, 'BROWSER_REFUSED'],
    ['a page of this very host', upgradeHeaders(token, { origin: url }), 403, 'BROWSER_REFUSED'],
    ['no subprotocol', without('sec-websocket-protocol'), 426, 'UPGRADE_REQUIRED'],
    ['another subprotocol', upgradeHeaders(token, { 'sec-websocket-protocol': 'reproq.worker.v2, mqtt' }), 426, 'UPGRADE_REQUIRED'],
    ['a plain GET', { authorization: `Bearer ${token}` }, 426, 'UPGRADE_REQUIRED'],
  ]
  for (const [what, headers, status, code] of rows) {
    const answer = await refused(url, headers)
    t.match(answer, { status, headers: { 'content-type': /^application\/problem\+json/ }, body: { status, code, title: String, detail: String, hint: String } }, what)
  }
  t.match((await refused(url, without('authorization'))).headers, { 'www-authenticate': 'Bearer' })
  await unaffected()
})

t.test('more workers than the broker takes are told to come back', async (t) => {
  const own = await testBroker(t, { ...PATIENT, maxLinks: 2 })
  const first = await ScriptedWorker.hello(t, own.url, own.token, { instance: 'one' })
  await ScriptedWorker.connect(t, own.url, own.token)
  t.match(await refused(own.url, upgradeHeaders(own.token)), { status: 429, headers: { 'retry-after': '5' }, body: { code: 'TOO_MANY_CONNECTIONS' } })
  first.send({ t: 'bye', reason: 'room' })
  await first.closed
  await ScriptedWorker.hello(t, own.url, own.token, { instance: 'two' })
})

t.test('queues outside the token are left out, said so, and never leased', async (t) => {
  const own = await testBroker(t, PATIENT)
  const scoped = await givenToken(own.database.url, ['work:queue:mail-*'])
  const worker = await ScriptedWorker.hello(t, own.url, scoped, { subs: [{ queues: ['mail-eu', 'default'], window: 5 }, { queues: ['admin'], window: 5 }] })
  t.strictSame(worker.welcome.refused, [{ queue: 'default', code: 'forbidden' }, { queue: 'admin', code: 'forbidden' }])
  await own.database.pool.query(`SELECT reproq_enqueue('t.secret', queue_name => queue) FROM unnest(ARRAY['default', 'admin', 'mail']) AS queue`)
  worker.send({ t: 'subs', v: 2, items: [{ queues: ['admin', 'default', 'mail-us'], window: 5 }] })
  await own.database.pool.query(`SELECT reproq_enqueue('t.mine', queue_name => 'mail-us')`)
  t.match((await worker.next('runs')).items, [{ task: 't.mine' }])
  const { rows } = await own.database.pool.query(`SELECT count(*)::int AS waiting FROM task_runs WHERE task_path = 't.secret' AND status = 'READY'`)
  t.strictSame(rows, [{ waiting: 3 }])
})

t.test('a queue name that Postgres has no text for stops nobody', async (t) => {
  const own = await testBroker(t, { ...PATIENT, lookMs: 100 })
  const hostile = await ScriptedWorker.hello(t, own.url, own.token, { instance: 'hostile', subs: [{ queues: ['a\0b'], window: 5 }] })
  t.match(hostile.welcome.refused, [{ queue: 'a\0b', code: 'forbidden' }])
  hostile.send({ t: 'subs', v: 2, items: [{ queues: ['c\0d'], window: 5 }] })
  const worker = await ScriptedWorker.hello(t, own.url, own.token)
  for (let run = 1; run <= 3; run++) {
    await own.database.pool.query(`SELECT reproq_enqueue('t.fine')`)
    t.match((await worker.next('runs')).items, [{ task: 't.fine' }])
  }
})

t.test('a session that is resumed elsewhere closes the older connection', async (t) => {
  const own = await testBroker(t, PATIENT)
  const unaffected = await bystanderOf(t, own)
  const old = await ScriptedWorker.hello(t, own.url, own.token)
  const { session, key } = old.welcome
  const stranger = await ScriptedWorker.hello(t, own.url, own.token, { resume: { session, key: 'guessed' } })
  t.match(stranger.welcome, { resumed: false, conn: 1 })
  t.not(stranger.welcome.session, session, 'a wrong key gets a session of its own, and closes nobody')
  old.send({ t: 'hb', n: 1, held: [] })
  t.match(await old.next('hb_ack'), { ok: true })

  const young = await ScriptedWorker.hello(t, own.url, own.token, { resume: { session, key } })
  t.match(young.welcome, { resumed: true, session, key, conn: 2 })
  expectGoodbye(t, await goodbyeTo(old), 4409, 'superseded', 'never')
  young.send({ t: 'hb', n: 1, held: [] })
  t.match(await young.next('hb_ack'), { ok: true })
  await unaffected()
})

t.test('silence ends a connection, and any sign of life keeps it', async (t) => {
  const own = await testBroker(t, { heartbeatMs: 400, leaseMs: 60_000 })
  const silent = await ScriptedWorker.hello(t, own.url, own.token, { instance: 'silent' })
  const pinging = await ScriptedWorker.hello(t, own.url, own.token, { instance: 'pinging' })
  const timer = setInterval(() => pinging.socket.ping(), 100)
  t.teardown(() => clearInterval(timer))
  expectGoodbye(t, await goodbyeTo(silent), 4504, 'heartbeat_timeout', 'now')
  t.equal(pinging.socket.readyState, pinging.socket.OPEN)
})

t.test('a heartbeat for a session that is over is answered with the end of the connection', async (t) => {
  const own = await testBroker(t, PATIENT)
  const worker = await ScriptedWorker.hello(t, own.url, own.token)
  await own.database.pool.query('DELETE FROM reproq_sessions')
  worker.send({ t: 'hb', n: 1, held: [] })
  expectGoodbye(t, await goodbyeTo(worker), 4504, 'heartbeat_timeout', 'now')
})

t.test('a worker that does not read is cut off, and its runs were never lost', async (t) => {
  const own = await testBroker(t, PATIENT)
  const unaffected = await bystanderOf(t, own)
  const closes: string[] = []
  own.broker.events.on('link.closed', ({ code }) => closes.push(code))
  const worker = await ScriptedWorker.hello(t, own.url, own.token, { subs: [{ queues: ['default'], window: 60 }] })
  worker.socket.pause()
  await own.database.pool.query(`SELECT reproq_enqueue('t.large', args => jsonb_build_array(repeat('x', 1000000))) FROM generate_series(1, 40)`)
  await until('cut off', () => closes.includes('4508'), 20_000)
  await unaffected()
  worker.socket.resume()
  expectGoodbye(t, await goodbyeTo(worker), 4508, 'slow_consumer', 'backoff')
})

t.test('a frozen worker does not hold up a broker that stops', async (t) => {
  const own = await testBroker(t, PATIENT)
  const worker = await ScriptedWorker.hello(t, own.url, own.token)
  worker.socket.pause()
  const began = performance.now()
  await own.broker.stop({ drainMs: 0 })
  t.ok(performance.now() - began < 15_000, 'it waits for the answer to its close, but not for ever')
})

t.test('a result for a handle that is none is refused alone', async (t) => {
  const own = await testBroker(t, PATIENT)
  const worker = await ScriptedWorker.hello(t, own.url, own.token)
  await own.database.pool.query(`SELECT reproq_enqueue('t.one')`)
  const [item] = (await worker.next('runs')).items
  const l = item?.l as number
  const result: WorkerFrameOf['result'] = { t: 'result', items: [{ l: 77, outcome: 'ok' }, { l, outcome: 'ok' }, { l: 78, outcome: 'error' }] }
  worker.send(result)
  t.strictSame((await worker.next('result_ok')).items, [{ l, disp: 'finalized' }])
  t.strictSame((await worker.next('result_no')).items, [{ l: 77, code: 'unknown_handle' }, { l: 78, code: 'unknown_handle' }])
  worker.send(result)
  t.match((await worker.next('result_no')).items, [{ code: 'unknown_handle' }, { l, code: 'unknown_handle' }, { code: 'unknown_handle' }], 'a handle ends with its answer')
  worker.send({ t: 'release', items: [{ l: 99, reason: 'overload' }] })
  worker.send({ t: 'accept', l: [99, l] })
  worker.send({ t: 'hb', n: 1, held: [99] })
  t.match(await worker.next('hb_ack'), { ok: true, lost: [99] }, 'unknown handles are lost handles')
})
