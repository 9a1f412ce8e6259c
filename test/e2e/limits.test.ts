import { get } from 'node:http'
import t from 'tap'
import { members, type EnqueueRequest, type Problem, type Run, type RunList } from '../../protocol/src/index.js'
import { givenToken, testBroker, type TestBroker } from '../helpers/broker.js'
import { givenForeignRun, misplaced, rowOf } from '../helpers/given.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

const PATIENT = { heartbeatMs: 60_000, leaseMs: 600_000 }

/** A REST call with a body that is sent as it is. */
async function call<Body = Problem>({ url, token }: TestBroker, method: string, path: string, text?: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${url}${path}`, { method, body: text ?? null, headers: { authorization: `Bearer ${token}`, ...(text !== undefined && { 'content-type': 'application/json' }), ...headers } })
  const answer = await response.text()
  return { status: response.status, text: answer, body: (answer.startsWith('{') ? JSON.parse(answer) : undefined) as Body }
}

const stored = async ({ database }: TestBroker) => (await database.pool.query<{ count: number }>('SELECT count(*)::int AS count FROM task_runs')).rows[0]?.count

t.test('what is too large is refused by size, and nothing of it is stored', async (t) => {
  const own = await testBroker(t, { payloadBytes: 2_000, bodyBytes: 200_000 })
  const run = (bytes: number) => JSON.stringify({ task: 't', args: ['x'.repeat(bytes)] })
  t.match(await call(own, 'POST', '/v1/runs', run(2_000)), { status: 413, body: { code: 'PAYLOAD_TOO_LARGE', detail: /The run is \d+ bytes; the limit is 2000/ } })
  t.match(await call(own, 'POST', '/v1/runs', JSON.stringify({ task: 't', args: ['é'.repeat(1_000)] })), { status: 413 }, 'bytes are counted, not characters')
  t.match(await call(own, 'POST', '/v1/runs/bulk', `{"runs":[${run(1)},${run(2_000)}]}`), { status: 413, body: { code: 'PAYLOAD_TOO_LARGE', detail: /runs\[1\] is \d+ bytes/ } })
  t.match(await call(own, 'POST', '/v1/runs', run(300_000)), { status: 413, body: { code: 'BODY_TOO_LARGE', detail: /REPROQ_BODY_BYTES/ } })
  t.equal(await stored(own), 0)
  t.match(await call(own, 'POST', '/v1/runs', run(1_000)), { status: 201 })
})

t.test('a bulk takes up to 1,000 runs, in order, all or none', async (t) => {
  const own = await testBroker(t)
  const bulk = (count: number) => JSON.stringify({ runs: Array.from({ length: count }, (_, at) => ({ task: `t${at}` })) })
  t.match(await call(own, 'POST', '/v1/runs/bulk', bulk(1_001)), { status: 400, body: { code: 'INVALID_REQUEST', detail: /runs must NOT have more than 1000 items/ } })
  t.match(await call(own, 'POST', '/v1/runs/bulk', bulk(0)), { status: 400, body: { code: 'INVALID_REQUEST' } })
  t.equal(await stored(own), 0)
  const { status, body } = await call<{ runs: { id: string }[] }>(own, 'POST', '/v1/runs/bulk', bulk(1_000))
  t.equal(status, 201)
  const { rows } = await own.database.pool.query<{ id: string }>('SELECT result_id::text AS id FROM task_runs ORDER BY substr(task_path, 2)::int')
  t.strictSame(body.runs.map(({ id }) => id), rows.map(({ id }) => id))
})

t.test('a request that has the wrong shape is refused with the name of what is wrong', async (t) => {
  const own = await testBroker(t)
  const rows: [body: string, status: number, code: string, detail: RegExp][] = [
    ['{"task":"t","priorty":1}', 400, 'INVALID_REQUEST', /additional properties: "priorty"; did you mean priority\?/],
    ['{"task":"t","concurrency":{"key":"k","limit":1}}', 400, 'INVALID_REQUEST', /^body .*"concurrency"; did you mean concurrency_key\?$/],
    ['{"task":"t","expires_in":5}', 400, 'INVALID_REQUEST', /"expires_in"; did you mean expires_in_ms\?/],
    ['{"task":"t","maxAttempts":5}', 400, 'INVALID_REQUEST', /"maxAttempts"; did you mean max_attempts\?/],
    ['{"task":"t","rate":{"key":"k","limit":1,"per":5,"per_ms":5}}', 400, 'INVALID_REQUEST', /^body\/rate .*"per"; did you mean per_ms\?/],
    ['{"task":"t","retry":{"attempts":5}}', 400, 'INVALID_REQUEST', /^body\/retry .*"attempts"; there are base_ms, factor, cap_ms, jitter, delays_ms, non_retryable$/],
    ['{}', 400, 'INVALID_REQUEST', /task/],
    ['{"task":""}', 400, 'INVALID_REQUEST', /body\/task/],
    ['{"task":"t","priority":"1"}', 400, 'INVALID_REQUEST', /body\/priority must be integer/],
    ['{"task":"t","priority":40000}', 400, 'INVALID_REQUEST', /body\/priority must be <= 32767/],
    ['{"task":"t","max_attempts":0}', 400, 'INVALID_REQUEST', /max_attempts/],
    ['{"task":"t","args":{}}', 400, 'INVALID_REQUEST', /body\/args must be array/],
    ['{"task":"t","input":1,"args":[1]}', 400, 'INVALID_REQUEST', /input/],
    ['{"task":"t","delay_ms":1,"run_after":"2030-01-01T00:00:00Z"}', 400, 'INVALID_REQUEST', /delay_ms and run_after/],
    ['{"task":"t","run_after":"tomorrow"}', 400, 'INVALID_REQUEST', /run_after/],
    ['{"task":"t","run_after":"2016-12-31T23:59:60Z"}', 400, 'INVALID_REQUEST', /23:59:60/],
    ['[]', 400, 'INVALID_REQUEST', /must be object/],
    ['{"task":', 400, 'INVALID_JSON', /JSON/],
    ['', 400, 'INVALID_JSON', /\w/],
  ]
  for (const [text, status, code, detail] of rows) t.match(await call(own, 'POST', '/v1/runs', text), { status, body: { status, code, detail, hint: String } }, text)
  t.match(await call(own, 'POST', '/v1/runs/bulk', '{"runs":[{"task":"t"},{"task":"t","delay":1}]}'), { status: 400, body: { detail: /body\/runs\/1 .*"delay"/ } })
  const paths: [path: string, detail: RegExp][] = [
    ['/v1/runs/abc', /^id is "abc"; it has to be the id of a run, a number such as 42$/],
    ['/v1/workflows/xx', /^id is "xx"; it has to be the id of a workflow, a UUID/],
    ['/v1/operations/x', /^id is "x"; it has to be the id of an operation/],
  ]
  for (const [path, detail] of paths) t.match(await call(own, 'GET', path), { status: 400, body: { code: 'INVALID_REQUEST', detail } }, path)
  t.match(await call(own, 'POST', '/v1/runs', '{"task":"t"}', { 'content-type': 'text/plain' }), { status: 415, body: { code: 'UNSUPPORTED_MEDIA_TYPE' } })
  t.equal(await stored(own), 0)
})

t.test('what Postgres cannot keep is refused where it stands, and in a bulk with the run it stands in', async (t) => {
  const own = await testBroker(t)
  const rows: [what: string, run: string, fault: string][] = [
    ['NUL', '{"task":"t","args":["a\\u0000b"]}', 'nul_character'],
    ['NUL in a name', '{"task":"t","kwargs":{"\\u0000":1}}', 'nul_character'],
    ['NUL in the task', '{"task":"t\\u0000"}', 'nul_character'],
    ['NUL in the queue', '{"task":"t","queue":"q\\u0000"}', 'nul_character'],
    ['half a pair', '{"task":"t","args":["\\ud83d"]}', 'lone_surrogate'],
    ['the other half', '{"task":"t","input":"\\ude00\\ud83d"}', 'lone_surrogate'],
    ['too deep', `{"task":"t","args":${'['.repeat(65)}${']'.repeat(65)}}`, 'too_deep'],
    ['too large a number', '{"task":"t","args":[1e131073]}', 'number_out_of_range'],
    ['too small a number', '{"task":"t","args":[1e-16384]}', 'number_out_of_range'],
  ]
  for (const [what, run, fault] of rows) {
    t.match(await call(own, 'POST', '/v1/runs', run), { status: 422, body: { code: 'INVALID_PAYLOAD', detail: new RegExp(`The run cannot be stored: ${fault} at position \\d+`) } }, what)
    t.match(await call(own, 'POST', '/v1/runs/bulk', `{"runs":[{"task":"t"},{"task":"t"},${run}]}`), { status: 422, body: { code: 'INVALID_PAYLOAD', detail: new RegExp(`runs\\[2\\].* ${fault}`) } }, `${what}, in a bulk`)
  }
  t.equal(await stored(own), 0, 'none of any bulk')
  for (const fine of ['"\\ud83d\\ude00"', '"\\\\u0000"', `${'['.repeat(60)}${']'.repeat(60)}`, '1e300', '"😀"']) {
    t.match(await call(own, 'POST', '/v1/runs', `{"task":"t","args":[${fine}]}`), { status: 201 }, fine)
  }
})

t.test('every digit that goes in comes out: by REST, in the spec a worker gets, and in the output', async (t) => {
  const own = await testBroker(t, PATIENT)
  const numbers = '[12345678901234567890, 1.0, 0.10, -0.000000000000000000001, 100000000000000000000.5]'
  const enqueue = () => call<{ id: string }>(own, 'POST', '/v1/runs', `{"task":"t","args":${numbers},"kwargs":{"n": 9007199254740993}}`)
  const before = await enqueue()
  const worker = await ScriptedWorker.hello(t, own.url, own.token)
  for (const enqueued of [async () => before, enqueue]) {
    const { body } = await enqueued()
    const [item] = (await worker.next('runs')).items
    t.equal(item?.run, body.id, 'one that waited in the database, one that came while the worker was there')
    t.equal(members(item?.spec ?? '{}').get('args'), numbers)
    worker.send({ t: 'result', items: [{ l: item?.l, outcome: 'ok', output: numbers }] })
    await worker.next('result_ok')
    const { text } = await call<Run>(own, 'GET', `/v1/runs/${body.id}`)
    t.equal(members(text).get('args'), numbers)
    t.equal(members(text).get('output'), numbers)
    t.equal(members(text).get('kwargs'), '{"n": 9007199254740993}')
  }
})

t.test('an output that cannot be kept fails its run alone; others of the same frame are fine, and its place is free', async (t) => {
  const own = await testBroker(t, { ...PATIENT, outputBytes: 1_000 })
  const bad: [output: string, code: string][] = [
    [JSON.stringify('x'.repeat(1_000)), 'output_too_large'],
    ['"\\u0000"', 'invalid_output'],
    ['no json', 'invalid_output'],
    ['', 'invalid_output'],
    ['1 2', 'invalid_output'],
    ['"\\ud800"', 'invalid_output'],
    ['"\ud800"', 'invalid_output'],
    ['1e200000', 'invalid_output'],
    [`[${Array(20).fill('1e130000').join()}]`, 'invalid_output'],
  ]
  const worker = await ScriptedWorker.hello(t, own.url, own.token, { subs: [{ queues: ['default'], window: bad.length + 2 }] })
  await call(own, 'POST', '/v1/runs/bulk', JSON.stringify({ runs: Array.from({ length: bad.length + 2 }, () => ({ task: 't' })) }))
  const items: BrokerItem[] = []
  while (items.length < bad.length + 2) items.push(...(await worker.next('runs')).items)
  const outputs = ['"first"', ...bad.map(([output]) => output), '"last"']
  worker.send({ t: 'result', items: items.map(({ l }, at) => ({ l, outcome: 'ok', output: outputs[at] })) })

  const answers = (await worker.next('result_ok')).items
  t.strictSame(answers.map(({ disp }) => disp), outputs.map(() => 'finalized'))
  t.strictSame(answers.map(({ code }) => code), [undefined, ...bad.map(([, code]) => code), undefined])
  for (const [at, [output, code]] of bad.entries()) {
    const row = await rowOf(own.database.pool, items[at + 1]?.run as string)
    t.match(row, { status: 'FAILED', attempts: 1, return_json: null, errors_json: [{ kind: code }], last_error: new RegExp(`^${code}: `) }, output.slice(0, 20))
  }
  for (const item of [items[0], items.at(-1)]) t.equal((await rowOf(own.database.pool, item?.run as string)).status, 'SUCCESSFUL')
  t.strictSame(await misplaced(own.database.pool), [])

  await call(own, 'POST', '/v1/runs/bulk', JSON.stringify({ runs: Array.from({ length: bad.length + 2 }, () => ({ task: 't2' })) }))
  let next = 0
  while (next < bad.length + 2) next += (await worker.next('runs')).items.length
  t.equal(next, bad.length + 2, 'the whole window is there again')
})
type BrokerItem = { l: number; run: string }

t.test('a foreign row whose payload no frame carries fails, and the next run comes', async (t) => {
  const own = await testBroker(t, { ...PATIENT, frameBytes: 10_000, payloadBytes: 2_000 })
  const worker = await ScriptedWorker.hello(t, own.url, own.token, { subs: [{ queues: ['default'], window: 1 }] })
  const id = await givenForeignRun(own.database.pool, { spec_json: JSON.stringify({ task_path: 'app.large', args: ['x'.repeat(8_000)], kwargs: {} }) })
  await givenForeignRun(own.database.pool, { spec_json: '{"task_path": "app.small", "args": [], "kwargs": {}}' })
  t.match((await worker.next('runs')).items, [{ task: 'app.small' }])
  t.match(await rowOf(own.database.pool, id), { status: 'FAILED', errors_json: [{ kind: 'payload_too_large' }], last_error: /payload_too_large: The payload is 80\d\d bytes/ })
})

t.test('wait_ms answers when the run ends, or as it is when the time is up', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { body } = await call<{ id: string }>(own, 'POST', '/v1/runs', '{"task":"t"}')
  const early = await call<Run>(own, 'GET', `/v1/runs/${body.id}?wait_ms=100`)
  t.match(early, { status: 200, body: { status: 'READY' } })

  const waiting = call<Run>(own, 'GET', `/v1/runs/${body.id}?wait_ms=30000`)
  const worker = await ScriptedWorker.hello(t, own.url, own.token)
  worker.send({ t: 'result', items: [{ l: (await worker.next('runs')).items[0]?.l, outcome: 'ok', output: '7' }] })
  t.match((await waiting).body, { status: 'SUCCESSFUL', output: 7 })
  t.match((await call<Run>(own, 'GET', `/v1/runs/${body.id}?wait_ms=30000`)).body, { status: 'SUCCESSFUL' }, 'what is over is not waited for')
  for (const wait of ['60001', '-1', 'soon']) t.match(await call(own, 'GET', `/v1/runs/${body.id}?wait_ms=${wait}`), { status: 400 }, wait)
})

t.test('wait_ms sees an end that somebody else wrote', async (t) => {
  const own = await testBroker(t, PATIENT)
  const id = await givenForeignRun(own.database.pool, { status: 'RUNNING', leased_by: 'go' })
  const waiting = call<Run>(own, 'GET', `/v1/runs/${id}?wait_ms=30000`)
  await own.database.pool.query(`UPDATE task_runs SET status = 'SUCCESSFUL', return_json = '1', finished_at = now()`)
  t.match((await waiting).body, { status: 'SUCCESSFUL' })
})

t.test('lists filter, and page by page show every run once, also while new ones come', async (t) => {
  const own = await testBroker(t, PATIENT)
  const runs: EnqueueRequest[] = Array.from({ length: 25 }, (_, at) => ({ task: at % 5 ? 't.most' : 't.few', queue: at % 2 ? 'odd' : 'even' }))
  await call(own, 'POST', '/v1/runs/bulk', JSON.stringify({ runs }))
  const seen: string[] = []
  let cursor: string | null = ''
  let pages = 0
  while (cursor !== null) {
    const page: RunList = (await call<RunList>(own, 'GET', `/v1/runs?limit=7&task=t.most${cursor && `&cursor=${cursor}`}`)).body
    seen.push(...page.runs.map(({ id }) => id))
    cursor = page.next_cursor
    pages++
    await call(own, 'POST', '/v1/runs', '{"task":"t.most"}')
  }
  t.equal(pages, 3)
  t.strictSame(seen, seen.toSorted((a, b) => Number(b) - Number(a)), 'newest first')
  t.equal(new Set(seen).size, 20)
  const count = async (query: string) => (await call<RunList>(own, 'GET', `/v1/runs?limit=1000&${query}`)).body.runs.length
  t.equal(await count('queue=odd'), 12)
  t.equal(await count('queue=odd&task=t.few'), 2)
  t.equal(await count('status=READY&queue=even'), 13)
  t.equal(await count('status=FAILED'), 0)
  t.equal(await count('task=nothing'), 0)
  for (const query of ['limit=0', 'limit=1001', 'status=DONE', 'cursor=abc', 'queue=%00']) t.match(await call(own, 'GET', `/v1/runs?${query}`), { status: 400, body: { code: 'INVALID_REQUEST' } }, query)
})

t.test('rows that only Postgres can spell are listed and shown all the same', async (t) => {
  const own = await testBroker(t)
  const endless = await givenForeignRun(own.database.pool, { run_after: 'infinity' })
  const far = await givenForeignRun(own.database.pool, { run_after: '290000-01-01' })
  for (const id of [endless, far]) t.match(await call<Run>(own, 'GET', `/v1/runs/${id}`), { status: 200, body: { id, status: 'READY', run_after: null } })
  t.equal((await call<RunList>(own, 'GET', '/v1/runs')).body.runs.length, 2)
})

t.test('what is not there is a 404 with the id, and what is no id a 400', async (t) => {
  const own = await testBroker(t)
  for (const [method, path] of [['GET', '/v1/runs/42'], ['POST', '/v1/runs/42/cancel'], ['GET', '/v1/runs/42/events'], ['GET', '/v1/runs/42?wait_ms=1000']] as const) {
    t.match(await call(own, method, path), { status: 404, body: { code: 'RUN_NOT_FOUND', detail: /42/ } }, `${method} ${path}`)
  }
  t.match(await call(own, 'GET', '/v1/nothing'), { status: 404, body: { code: 'ROUTE_NOT_FOUND', detail: /GET \/v1\/nothing/ } })
  for (const id of ['abc', '-1', '9999999999999999999', '1e3']) t.match(await call(own, 'GET', `/v1/runs/${id}`), { status: 400, body: { code: 'INVALID_REQUEST' } }, id)
})

t.test('each route asks for its scope', async (t) => {
  const own = await testBroker(t)
  const id = await givenForeignRun(own.database.pool)
  const as = async (...scopes: string[]) => ({ ...own, token: await givenToken(own.database.url, scopes) })
  const [reader, producer, worker] = [await as('read'), await as('enqueue'), await as('work:queue:*')]
  const statuses = async (who: TestBroker) => [
    (await call(who, 'POST', '/v1/runs', '{"task":"t"}')).status,
    (await call(who, 'POST', '/v1/runs/bulk', '{"runs":[{"task":"t"}]}')).status,
    (await call(who, 'GET', `/v1/runs/${id}`)).status,
    (await call(who, 'GET', '/v1/runs')).status,
    (await call(who, 'POST', '/v1/worker/results', '{"items":[{"run":"1","lease":"00000000-0000-0000-0000-000000000000","outcome":"ok"}]}')).status,
    (await call(who, 'POST', `/v1/runs/${id}/cancel`)).status,
  ]
  t.strictSame(await statuses(reader), [403, 403, 200, 200, 403, 403])
  t.strictSame(await statuses(worker), [403, 403, 403, 403, 200, 403])
  t.strictSame(await statuses(producer), [201, 201, 403, 403, 403, 200])
  t.match(await call({ ...own, token: 'rq_nobody' }, 'GET', '/v1/runs'), { status: 401, body: { code: 'UNAUTHORIZED' } })
})

t.test('the event stream tells each state once, and ends with the final one', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { body } = await call<{ id: string }>(own, 'POST', '/v1/runs', '{"task":"t"}')
  let text = ''
  let type: string | undefined
  const ended = new Promise<void>((resolve, reject) => {
    get(`${own.url}/v1/runs/${body.id}/events`, { headers: { authorization: `Bearer ${own.token}` }, agent: false }, (response) => {
      type = response.headers['content-type']
      response.on('data', (chunk: Buffer) => (text += chunk.toString())).once('end', resolve)
    }).once('error', reject)
  })
  const statuses = () => [...text.matchAll(/event: state\ndata: (.*)\n\n/g)].map(([, json]) => (JSON.parse(json as string) as Run).status)
  await until('the first state', () => statuses().length === 1)
  const worker = await ScriptedWorker.hello(t, own.url, own.token)
  const [item] = (await worker.next('runs')).items
  await until('the second', () => statuses().length === 2)
  worker.send({ t: 'result', items: [{ l: item?.l, outcome: 'ok' }] })
  await ended
  t.match(type, /^text\/event-stream/)
  t.strictSame(statuses(), ['READY', 'RUNNING', 'SUCCESSFUL'])
})

t.test('the OpenAPI document is 3.1 and says every route there is', async (t) => {
  const own = await testBroker(t)
  const { status, body } = await call<{ openapi: string; paths: Record<string, Record<string, { responses?: object; summary?: string }>> }>(own, 'GET', '/docs/json')
  t.equal(status, 200)
  t.match(body.openapi, /^3\.1\.\d+$/)
  const said = Object.entries(body.paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`))
  for (const route of ['POST /v1/runs', 'GET /v1/runs', 'POST /v1/runs/bulk', 'GET /v1/runs/{id}', 'GET /v1/runs/{id}/events', 'POST /v1/runs/{id}/cancel', 'POST /v1/worker/results', 'GET /healthz', 'GET /readyz']) t.ok(said.includes(route), route)
  for (const route of said) {
    const [method, path] = route.split(' ') as [string, string]
    const answer = await call(own, method, path.replaceAll(/\{\w+\}/g, '1'), method === 'POST' ? '{}' : undefined)
    t.notMatch(answer.body, { code: 'ROUTE_NOT_FOUND' }, `${route} exists`)
    const { responses, summary } = body.paths[path]?.[method.toLowerCase()] ?? {}
    t.ok(responses && summary, `${route} is described`)
  }
})

t.test('health needs no token: alive, and ready', async (t) => {
  const own = await testBroker(t)
  const anonymous = { ...own, token: '' }
  t.match(await call(anonymous, 'GET', '/healthz'), { status: 200, text: 'ok' })
  t.match(await call(anonymous, 'GET', '/readyz'), { status: 200, body: { ready: true, checks: { database: true, listening: true, draining: false } } })
})
