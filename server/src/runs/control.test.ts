import t from 'tap'
import type { EnqueueRequest } from '../../../protocol/src/index.js'
import { controlFor, givenDatabase, misplaced, newRunOf, rowOf } from '../../../test/helpers/given.js'
import { enqueue } from './enqueue.js'
import { find } from './find.js'
import { newRun } from './spec.js'

const run = (request: Omit<EnqueueRequest, 'task'>) => newRun({ task: 'a.b', ...request }, JSON.stringify({ task: 'a.b', ...request }), 1_000_000)
const RATE = { key: 'customer:42', limit: 30, per_ms: 60_000 }

t.test('a run that asks for nothing has no control, and its columns stay null', async (t) => {
  const { db, others } = await givenDatabase(t)
  t.equal(run({ queue: 'mail', idempotency_key: 'k' }).control, null)
  const [plain] = await enqueue(db, [run({}), run({ lock_key: 'l' })])
  t.match(await rowOf(others, plain?.id as string), { lock_key: null, concurrency_key: null, concurrency_limit: 0, expires_at: null, reproq_rate_key: null, reproq_fair_key: null, reproq_retry: null })
})

t.test('what a run asks for is stored with it and shown', async (t) => {
  const { db, others } = await givenDatabase(t)
  const retry = { base_ms: 5, factor: 1, jitter: 0.5, non_retryable: ['TypeError'] }
  const [placed] = await enqueue(db, [run({ lock_key: 'l', concurrency_key: 'c', concurrency_limit: 2, rate: RATE, fair_key: 'f', expires_at: '2040-01-02T03:04:05Z', retry })])
  const row = await rowOf(others, placed?.id as string)
  t.match(row, { lock_key: 'l', concurrency_key: 'c', concurrency_limit: 2, reproq_rate_key: 'customer:42', reproq_fair_key: 'f', expires_at: new Date('2040-01-02T03:04:05Z'), reproq_retry: retry })
  t.match(row.spec_json, { lock_key: 'l', concurrency_key: 'c', concurrency_limit: 2 })
  t.match(JSON.parse((await find(db, placed?.id as string))?.json ?? ''), { lock_key: 'l', concurrency_key: 'c', concurrency_limit: 2, rate_key: 'customer:42', fair_key: 'f', expires_at: '2040-01-02T03:04:05.000Z', retry })
  t.strictSame(await misplaced(others), [])
})

t.test('an expiry counts from the clock of the database', async (t) => {
  const { db, others } = await givenDatabase(t)
  const [placed] = await enqueue(db, [run({ expires_in_ms: 3_600_000 })])
  const { rows } = await others.query<{ in_s: number }>('SELECT extract(epoch FROM expires_at - enqueued_at)::float8 AS in_s FROM task_runs WHERE result_id = $1', [placed?.id])
  t.equal(rows[0]?.in_s, 3_600)
})

t.test('a rate key has one bucket with the numbers of the latest enqueue; what is in it stays', async (t) => {
  const { db, others } = await givenDatabase(t)
  const bucket = async () => (await others.query("SELECT tokens_per_second, burst_size, current_tokens, xmin::text FROM rate_limits WHERE key = 'key:customer:42'")).rows[0]
  await enqueue(db, [run({ rate: { ...RATE, limit: 1 } }), run({ rate: RATE })])
  t.match(await bucket(), { tokens_per_second: 0.5, burst_size: 30, current_tokens: 30 })
  await others.query("UPDATE rate_limits SET current_tokens = 3 WHERE key = 'key:customer:42'")
  const before = await bucket()
  await enqueue(db, [run({ rate: RATE })])
  t.strictSame(await bucket(), before, 'the same numbers write nothing')
  await enqueue(db, [run({ rate: { ...RATE, burst: 5 } })])
  t.match(await bucket(), { burst_size: 5, current_tokens: 3 })
})

t.test('a batch may mix runs with and without, and keys of both kinds', async (t) => {
  const { db, others } = await givenDatabase(t)
  const placed = await enqueue(db, [newRunOf(), newRunOf({ idempotencyKey: 'k', control: controlFor({ lockKey: 'l' }) }), newRunOf({ idempotencyKey: 'k' }), newRunOf({ control: controlFor({ fairKey: 'f' }) })])
  t.strictSame(placed.map(({ deduplicated }) => deduplicated), [false, false, true, false])
  t.match(await Promise.all(placed.map(({ id }) => rowOf(others, id))), [{ lock_key: null }, { lock_key: 'l' }, { lock_key: 'l' }, { reproq_fair_key: 'f' }])
  t.strictSame(await misplaced(others), [])
})

t.test('what cannot be is refused, with the values', async (t) => {
  const rows: [Omit<EnqueueRequest, 'task'>, string, RegExp][] = [
    [{ concurrency_key: 'c' }, 'INVALID_REQUEST', /concurrency_key and no concurrency_limit/],
    [{ concurrency_limit: 1 }, 'INVALID_REQUEST', /concurrency_limit and no concurrency_key/],
    [{ expires_at: '2040-01-01T00:00:00Z', expires_in_ms: 1 }, 'INVALID_REQUEST', /both expires_at and expires_in_ms/],
    [{ expires_at: '2040-01-01T00:00:60Z' }, 'INVALID_REQUEST', /expires_at "2040-01-01T00:00:60Z"/],
    [{ rate: { ...RATE, key: 'a\0' } }, 'INVALID_PAYLOAD', /nul_character/],
    [{ fair_key: '\ud800' }, 'INVALID_PAYLOAD', /lone_surrogate/],
    [{ lock_key: 'a\0' }, 'INVALID_PAYLOAD', /nul_character/],
  ]
  for (const [request, code, message] of rows) t.throws(() => run(request), { code, message }, JSON.stringify(request))
})

t.test('reproq_enqueue takes the same', async (t) => {
  const { others } = await givenDatabase(t)
  const call = async (named: string) => (await others.query<{ id: string }>(`SELECT result_id::text AS id FROM reproq_enqueue('a.b', ${named})`)).rows[0]?.id as string
  const id = await call(`lock_key => 'l', concurrency_key => 'c', concurrency_limit => 2, rate_key => 'customer:42', rate_limit => 30, rate_per => '1 minute',
    fair_key => 'f', expires_at => '2040-01-02T03:04:05Z', retry => '{"base_ms": 5}'`)
  const row = await rowOf(others, id)
  t.match(row, { lock_key: 'l', concurrency_key: 'c', concurrency_limit: 2, reproq_rate_key: 'customer:42', reproq_fair_key: 'f', expires_at: new Date('2040-01-02T03:04:05Z'), reproq_retry: { base_ms: 5 } })
  t.match(row.spec_json, { lock_key: 'l', concurrency_key: 'c', concurrency_limit: 2 })
  t.match((await others.query("SELECT * FROM rate_limits WHERE key = 'key:customer:42'")).rows, [{ tokens_per_second: 0.5, burst_size: 30, current_tokens: 30 }])
  t.match(await rowOf(others, await call('priority => 1')), { lock_key: null, concurrency_limit: 0, reproq_retry: null })
  for (const [named, message] of [["concurrency_key => 'c'", /go together; got c and <NULL>/], ["concurrency_key => 'c', concurrency_limit => 0", /go together/], ["rate_key => 'r', rate_limit => 1", /rate_per above 0/], ["lock_key => ''", /a key is empty/]] as const) {
    await t.rejects(call(named), { message }, named)
  }
  const wrong: [retry: string, message: RegExp][] = [['{"basems": 5}', /takes no basems: 5/], ['{"base_ms": "5s"}', /takes no base_ms: "5s"/], ['{"factor": 0.5}', /factor/], ['{"jitter": 2}', /jitter/], ['{"cap_ms": null}', /cap_ms/], ['{"delays_ms": []}', /delays_ms/], ['{"delays_ms": [1, "2"]}', /delays_ms/], ['{"delays_ms": 1}', /delays_ms/], ['{"non_retryable": [1]}', /non_retryable/]]
  for (const [retry, message] of wrong) await t.rejects(call(`retry => '${retry}'`), { message, hint: /base_ms, factor, cap_ms, jitter, delays_ms, non_retryable/ }, retry)
  await call(`priority => -32768, retry => '{"base_ms": 0, "factor": 1, "cap_ms": 9.5, "jitter": 1, "delays_ms": [0, 10], "non_retryable": ["ValueError"]}'`)
  for (const priority of [32_768, -32_769]) await t.rejects(call(`priority => ${priority}`), { message: new RegExp(`priority is an integer from -32768 to 32767; got ${priority}`) })
})
