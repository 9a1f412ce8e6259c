import t from 'tap'
import { givenToken, testBroker } from '../helpers/broker.js'
import { reproq, reproqJson } from '../helpers/cli.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'

t.test('rate limits over REST: as they were said, with their units; refusals name what is wrong', async (t) => {
  const { url, token, database } = await testBroker(t)
  const ask = async (method: string, path: string, body?: unknown, as = token) => {
    const answer = await fetch(`${url}/v1/limits${path}`, { method, headers: { authorization: `Bearer ${as}`, ...(body !== undefined && { 'content-type': 'application/json' }) }, ...(body !== undefined && { body: JSON.stringify(body) }) })
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }
  t.match(await ask('GET', ''), { status: 200, body: { limits: [{ key: 'global', active: false, tokens: null }] } }, 'Reproq’s own row is there, and off')
  const rows: [key: string, request: object, expected: object][] = [
    ['queue:mail', { limit: 10, per: 'minute' }, { key: 'queue:mail', limit: 10, per: 'minute', burst: 10, tokens: 10, active: true }],
    ['task:app.send', { limit: 5, per: 'second', burst: 1 }, { limit: 5, per: 'second', burst: 1, tokens: 1 }],
    ['key:customer/42', { limit: 7, per: 'day' }, { limit: 7, per: 'day', burst: 7 }],
    ['global', { limit: 999, per: 'hour', burst: 5 }, { limit: 999, per: 'hour', burst: 5 }],
    ['queue:odd', { limit: 0.5, per: 'second' }, { limit: 30, per: 'minute', burst: 1 }],
    ['queue:mail', { limit: 0, per: 'second' }, { limit: 0, active: false, tokens: null }],
  ]
  for (const [key, request, expected] of rows) {
    const path = `/${encodeURIComponent(key)}`
    t.match(await ask('PUT', path, request), { status: 200, body: expected }, key)
    t.match(await ask('GET', path), { status: 200, body: { ...expected, tokens: expected && 'tokens' in expected && expected.tokens === null ? null : Number } }, key)
  }
  t.match((await database.pool.query(`SELECT tokens_per_second, burst_size FROM rate_limits WHERE key = 'global'`)).rows, [{ tokens_per_second: 0.2775, burst_size: 5 }], 'in Reproq’s own table')
  t.match(await ask('DELETE', '/global'), { status: 200, body: { key: 'global' } })
  t.match(await ask('DELETE', '/global'), { status: 404, body: { code: 'LIMIT_NOT_FOUND', detail: /"global"/ } })
  t.match(await ask('GET', '/queue%3Anobody'), { status: 404, body: { code: 'LIMIT_NOT_FOUND' } })
  t.match(await ask('PUT', '/mail', { limit: 1, per: 'second' }), { status: 400, body: { code: 'INVALID_REQUEST' } })
  t.match(await ask('PUT', '/global', { limit: 1, per: 'week' }), { status: 400, body: { code: 'INVALID_REQUEST' } })
  const reader = await givenToken(database.url, ['read'])
  t.match(await ask('GET', '', undefined, reader), { status: 200 })
  t.match(await ask('PUT', '/global', { limit: 1, per: 'second' }, reader), { status: 403, body: { code: 'FORBIDDEN' } })
})

t.test('a run says what it waits for', async (t) => {
  const { reproq, database } = await testBroker(t)
  await database.pool.query(`INSERT INTO task_runs (spec_json, spec_hash, task_path, lock_key, status) VALUES ('{}', 'x', 'go.task', 'one', 'RUNNING')`)
  const run = await reproq.enqueue('app.task', {}, { lockKey: 'one' })
  t.match(await run.get(), { status: 'READY', blocked_by: null }, 'nobody has asked for it yet')
  await database.pool.query(`SELECT FROM reproq_lease_gated('{default}', '{1}', '{1}', '{w}', '{00000000-0000-4000-8000-000000000001}', 1000, 10)`)
  t.match(await run.get(), { status: 'READY', blocked_by: 'lock:one', waits_for: 'the lock key "one", which a run that is running holds' })
})

t.test('a run that is ready says in words why it does not start', async (t) => {
  const { reproq, url, token, database } = await testBroker(t)
  const run = await reproq.enqueue('app.task', {}, { queue: 'mail' })
  const says = async (waitsFor: string | RegExp | null, of = run) => t.match(await of.get(), { waits_for: waitsFor })
  await says('a worker: none that is connected serves queue "mail"')
  const worker = (queues: unknown, seen = 'now()') => database.pool.query(`INSERT INTO reproq_workers (worker_id, queues, last_seen_at) VALUES ('go', $1, ${seen}) ON CONFLICT (worker_id) DO UPDATE SET queues = excluded.queues, last_seen_at = excluded.last_seen_at`, [JSON.stringify(queues)])
  for (const queues of ['all', ['other'], ['m'], ['other*']]) {
    await worker(queues)
    await says(/^a worker/)
  }
  await worker(['mail'], `now() - interval '3 min'`)
  await says(/^a worker/)
  for (const queues of [['other', 'mail'], ['*'], ['ma*']]) {
    await worker(queues)
    await says(null)
  }
  await reproq.queues.pause('mail', { reason: 'the provider is down' })
  await says(/^queue "mail" to be resumed: it is paused since \d{4}-\d\d-\d\dT\S+Z, because: the provider is down$/)
  await says(/^its time, 2\d{3}-\S+Z$/, await reproq.enqueue('app.task', {}, { queue: 'mail', delay: '1h' }))
  await database.pool.query(`UPDATE reproq_queue_controls SET paused_at = NULL, reason = NULL`)
  await says('queue "mail" to be resumed: it is paused')
  await reproq.queues.resume('mail')
  await database.pool.query(`UPDATE reproq_queue_controls SET reproq_held_until = now() + interval '1 h'`)
  await says(/^queue "mail", which a task holds until 2\d{3}-\S+Z$/)
  await database.pool.query(`UPDATE reproq_queue_controls SET reproq_held_until = now()`)

  const scripted = await ScriptedWorker.hello(t, url, token, { subs: [{ queues: ['mail'], window: 1 }] })
  await scripted.next('runs')
  t.match(await run.get(), { status: 'RUNNING', waits_for: null })
  await database.pool.query(`UPDATE reproq_workers SET last_seen_at = now() - interval '1 h'`)
  t.match(await (await reproq.enqueue('app.task', {}, { queue: 'mail' })).get(), { status: 'READY', waits_for: null }, 'its session says that it lives')
})

t.test('what somebody has set for a rate key stays, whatever runs say of it, until it is removed; limits come in pages', async (t) => {
  const { reproq: client, url, token, database } = await testBroker(t)
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const rate = (limit: number) => ({ key: 'acme', limit, per_ms: 1_000 })
  const ways: Record<string, (limit: number) => Promise<unknown>> = {
    REST: async (limit) => t.equal((await fetch(`${url}/v1/runs`, { method: 'POST', headers, body: JSON.stringify({ task: 'a', rate: rate(limit) }) })).status, 201),
    SQL: (limit) => database.pool.query(`SELECT * FROM reproq_enqueue('a', rate_key => 'acme', rate_limit => $1, rate_per => '1 s')`, [limit]),
    'a workflow': (limit) => database.pool.query('SELECT * FROM reproq_enqueue_workflow($1)', [JSON.stringify([{ name: 'a', task: 'a', rate: rate(limit) }])]),
  }
  for (const [name, enqueue] of Object.entries(ways)) {
    await enqueue(1_000)
    t.match(await client.limits.get('key:acme'), { limit: 1_000 }, `${name}: made`)
    await enqueue(2_000)
    t.match(await client.limits.get('key:acme'), { limit: 2_000 }, `${name}: the last says how many`)
    await client.limits.set('key:acme', { limit: 5, per: 'second' })
    await enqueue(1_000)
    t.match(await client.limits.get('key:acme'), { limit: 5 }, `${name}: not any more`)
    await client.limits.remove('key:acme')
  }

  await database.pool.query(`INSERT INTO rate_limits SELECT 'key:' || g, 1, 1, 1 FROM generate_series(1, 1500) g`)
  const all = await client.limits.list()
  t.equal(new Set(all.map(({ key }) => key)).size, 1_501)
  const page = (query: string) => fetch(`${url}/v1/limits?${query}`, { headers }).then((answer) => answer.json() as Promise<{ limits: { key: string }[]; next_cursor: string | null }>)
  const [first, last] = [await page('limit=2'), await page(`cursor=${encodeURIComponent(all.at(-2)!.key)}`)]
  t.strictSame([first.limits.map(({ key }) => key), first.next_cursor], [all.slice(0, 2).map(({ key }) => key), all[1]?.key])
  t.strictSame([last.limits.map(({ key }) => key), last.next_cursor], [[all.at(-1)?.key], null])
})

t.test('rate limits from the SDK and the command line', async (t) => {
  t.testdir({})
  const { reproq: client, url, token } = await testBroker(t)
  t.match(await client.limits.set('key:a/b c', { limit: 3, per: 'hour' }), { key: 'key:a/b c', limit: 3, per: 'hour', burst: 3 })
  t.match(await client.limits.get('key:a/b c'), { limit: 3 })
  await client.limits.remove('key:a/b c')
  await t.rejects(client.limits.get('key:a/b c'), { code: 'LIMIT_NOT_FOUND', status: 404 })

  const env = { REPROQ_URL: url, REPROQ_TOKEN: token }
  const command = (...args: string[]) => reproq(t, ['limits', ...args], { env })
  t.match(await command('set', 'queue:mail', '--rate', '100/m', '--burst', '10', '-o', 'id'), { code: 0, stdout: 'queue:mail\n', stderr: '' })
  t.match((await client.limits.list()).find(({ key }) => key === 'queue:mail'), { limit: 100, per: 'minute', burst: 10 })
  t.match((await command('list')).stdout, /^KEY +RATE +BURST +FREE NOW\nglobal +off +1 +-\nqueue:mail +100 per minute +10 +10\n$/)
  t.match(await command('set', 'queue:mail', '--rate', 'off'), { code: 0 })
  t.match((await reproqJson<{ key: string; active: boolean }[]>(t, ['limits', 'list'], { env })).find(({ key }) => key === 'queue:mail'), { active: false })
  t.match(await command('rm', 'queue:mail'), { code: 0, stdout: /queue:mail +removed/, stderr: '' })
  t.match(await command('rm', 'queue:mail'), { code: 3, stderr: /LIMIT_NOT_FOUND.*queue:mail/ })
  t.match(await command('set', 'queue:mail', '--rate', '100'), { code: 2, stderr: /INVALID_RATE.*"100"[\s\S]*100\/m/ })
  t.match(await command('set', 'queue:mail', '--rate', '1/s', '--burst', '0'), { code: 2, stderr: /INVALID_BURST/ })
  t.match(await command('set', 'mail', '--rate', '1/s'), { code: 2, stderr: /INVALID_REQUEST {2}key is "mail"; it has to be global, queue:<name>/ })
})
