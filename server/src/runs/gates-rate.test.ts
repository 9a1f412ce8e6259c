import t from 'tap'
import { controlFor, givenDatabase, givenForeignRun, givenRuns, givenSession, misplaced, newRunOf, placesOf, type Given } from '../../../test/helpers/given.js'
import { until } from '../../../test/helpers/wait.js'
import { Pool } from '../db/pool.js'
import { enqueue } from './enqueue.js'
import { lease, leaseGated, type Leased } from './lease.js'
import { forgetFullBuckets } from './limits.js'
import { succeed } from './succeed.js'
import { unblock } from './unblock.js'

const QUEUES = ['default', 'mail']
const SLOW = 0.0001

/** A bucket, full. */
async function limit({ others }: Given, key: string, perSecond: number, burst: number): Promise<void> {
  await others.query(
    `INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens) VALUES ($1, $2, $3::int, $3::int)
     ON CONFLICT (key) DO UPDATE SET tokens_per_second = excluded.tokens_per_second, burst_size = excluded.burst_size, current_tokens = excluded.current_tokens, last_refilled_at = now()`,
    [key, perSecond, burst],
  )
}

const make = ({ others }: Given, task: string, columns: Record<string, unknown> = {}) => givenForeignRun(others, { task_path: task, ...columns })
const ids = (runs: Leased[]) => runs.map(({ run }) => run)

async function leasing(given: Given, most = 20) {
  const session = await givenSession(given.db)
  return async () => (await leaseGated(given.db, QUEUES, Array.from({ length: most }, () => session), 60_000)).runs
}

t.test('one bucket applies to a run: of its task, else of its queue, else the global one; switched off, it lets everything pass', async (t) => {
  const rows: [name: string, limits: [string, number, number][], leased: number][] = [
    ['global', [['global', SLOW, 2]], 2],
    ['a queue’s hides the global one', [['global', SLOW, 1], ['queue:mail', SLOW, 3]], 3],
    ['a task’s hides both', [['global', SLOW, 1], ['queue:mail', SLOW, 1], ['task:app.send', SLOW, 4]], 4],
    ['a task’s that is off hides both too', [['global', SLOW, 1], ['queue:mail', SLOW, 1], ['task:app.send', 0, 1]], 6],
    ['another queue’s and task’s do not', [['queue:default', SLOW, 1], ['task:app', SLOW, 1]], 6],
    ['without tokens to come it is off', [['queue:mail', 0, 5]], 6],
  ]
  for (const [name, limits, leased] of rows) {
    const given = await givenDatabase(t)
    for (const [key, perSecond, burst] of limits) await limit(given, key, perSecond, burst)
    for (let count = 0; count < 6; count++) await make(given, 'app.send', { queue_name: 'mail' })
    const lease = await leasing(given)
    t.equal((await lease()).length, leased, name)
    t.strictSame(await misplaced(given.others), [])
  }
})

t.test('an empty bucket stops only its own: others pass, and none of the stopped is looked at twice', async (t) => {
  const given = await givenDatabase(t)
  await limit(given, 'task:app.slow', SLOW, 1)
  const slow = [await make(given, 'app.slow'), await make(given, 'app.slow'), await make(given, 'app.slow')]
  const other = await make(given, 'app.other')
  const next = await leasing(given)
  t.strictSame(ids(await next()), [slow[0], other])
  t.strictSame(await placesOf(given.others, slow[1] as string), ['blocked'])
  const turn = await leaseGated(given.db, QUEUES, [await givenSession(given.db)], 60_000)
  t.match(turn, { runs: [], gated: true, more: false })
  t.ok((turn.nextMs as number) > 9_000_000, 'the next token comes in 10,000 s')
})

t.test('a rate key is charged besides the bucket of task, queue or everything', async (t) => {
  const given = await givenDatabase(t)
  await limit(given, 'key:acme', SLOW, 2)
  await limit(given, 'queue:default', SLOW, 3)
  const acme = [await make(given, 'a', { reproq_rate_key: 'acme' }), await make(given, 'a', { reproq_rate_key: 'acme' }), await make(given, 'a', { reproq_rate_key: 'acme' })]
  const free = [await make(given, 'a', { reproq_rate_key: 'nobody limits this' }), await make(given, 'a')]
  const next = await leasing(given)
  t.strictSame(ids(await next()), [acme[0], acme[1], free[0]])
  t.match((await given.others.query('SELECT key FROM reproq_blocked ORDER BY result_id')).rows, [{ key: 'rate:key:acme' }, { key: 'rate:queue:default' }])
})

t.test('what waits for a rate comes back when there is a token again, in order', async (t) => {
  const given = await givenDatabase(t)
  await limit(given, 'global', 20, 1)
  const runs = []
  for (let count = 0; count < 4; count++) runs.push(await make(given, 'a'))
  const next = await leasing(given)
  const seen = ids(await next())
  while (seen.length < 4) {
    const { nextMs } = await unblock(given.db)
    t.ok(nextMs !== null && nextMs <= 50, `the next token in ${nextMs} ms`)
    seen.push(...ids(await next()))
  }
  t.strictSame(seen, runs)
})

t.test('a limit that is changed, made or taken away holds at once for those that wait', async (t) => {
  const ways: Record<string, string> = {
    raised: `UPDATE rate_limits SET burst_size = 5, current_tokens = 5 WHERE key = 'queue:mail'`,
    'switched off': `UPDATE rate_limits SET tokens_per_second = 0 WHERE key = 'queue:mail'`,
    deleted: `DELETE FROM rate_limits WHERE key = 'queue:mail'`,
    'overruled by one for the task': `INSERT INTO rate_limits VALUES ('task:app.send', 1, 5, 5)`,
  }
  for (const [name, sql] of Object.entries(ways)) {
    const given = await givenDatabase(t)
    await limit(given, 'queue:mail', SLOW, 1)
    for (let count = 0; count < 3; count++) await make(given, 'app.send', { queue_name: 'mail' })
    const next = await leasing(given)
    await next()
    t.equal((await next()).length, 0)
    await given.others.query(sql)
    await until(`${name}: both that waited`, async () => {
      await unblock(given.db)
      return (await next()).length > 0
    })
    t.strictSame((await given.others.query(`SELECT result_id FROM task_runs WHERE status = 'READY'`)).rows, [], name)
    t.strictSame(await misplaced(given.others), [])
  }
})

t.test('a limit whose row a transaction holds keeps waiting what it applies to, and nothing else', async (t) => {
  const given = await givenDatabase(t)
  await limit(given, 'queue:mail', 10, 5)
  const held = await make(given, 'a', { queue_name: 'mail' })
  const other = await make(given, 'a')
  const holder = await given.others.connect()
  t.teardown(() => holder.release(true))
  await holder.query('BEGIN')
  await holder.query(`UPDATE rate_limits SET burst_size = 6 WHERE key = 'queue:mail'`)
  const next = await leasing(given)
  t.strictSame(ids(await next()), [other])
  await holder.query('COMMIT')
  t.strictSame(ids(await next()), [held])
  t.strictSame(await misplaced(given.others), [])
})

t.test('while a limit may apply nothing is born leased, and the fast lease takes nothing; a limit elsewhere does not matter to it', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  await limit(given, 'queue:mail', SLOW, 1)
  const offer = { sessionId: session.sessionId, workerId: session.workerId, lease: '00000000-0000-4000-8000-000000000001' }
  const [placed] = await enqueue(given.db, [newRunOf({ queue: 'mail' })], [offer], 60_000)
  t.match(placed, { leased: false })
  t.match(await lease(given.db, ['mail'], [session], 60_000), { gated: true, runs: [] })
  await givenRuns(given.db, {})
  t.match(await lease(given.db, ['default'], [session], 60_000), { gated: false, runs: { length: 1 } })
  await limit(given, 'queue:mail', 0, 1)
  t.match(await enqueue(given.db, [newRunOf({ queue: 'mail' })], [offer], 60_000), [{ leased: true }])
})

const keyed = (rateKey: string, perSecond = SLOW, burst = 2) => ({ control: controlFor({ rateKey, ratePerSecond: perSecond, rateBurst: burst }) })
const buckets = async ({ others }: Given) => (await others.query<{ key: string }>(`SELECT key FROM rate_limits WHERE key <> 'global' ORDER BY key`)).rows.map(({ key }) => key)

t.test('a bucket of a key that is full again is forgotten, a page at a time; others are not', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, ...['a', 'b', 'c', 'used', 'full again', 'waited for', 'new'].map((key) => keyed(key)))
  await limit(given, 'key:by hand', SLOW, 2)
  await limit(given, 'queue:mail', SLOW, 2)
  await given.others.query(`UPDATE rate_limits SET last_refilled_at = now() - interval '2 min' WHERE key <> 'key:new'`)
  await given.others.query(`UPDATE rate_limits SET current_tokens = 1 WHERE key IN ('key:used', 'key:full again')`)
  await given.others.query(`UPDATE rate_limits SET tokens_per_second = 0.01 WHERE key = 'key:full again'`)
  await given.others.query(`INSERT INTO reproq_blocked VALUES (1, 'rate:key:waited for', 0, 'paused', 0)`)
  const stay = ['key:by hand', 'key:new', 'key:used', 'key:waited for', 'queue:mail']
  await given.others.query('TRUNCATE reproq_freed')
  t.equal(await forgetFullBuckets(given.db, '', { limit: 3 }), 'key:waited for', 'to the first page of which none goes')
  t.strictSame(await buckets(given), stay)
  await limit(given, 'key:early', SLOW, 2)
  await given.others.query(`UPDATE rate_limits SET reproq_by_hand = false, last_refilled_at = now() - interval '2 min' WHERE key = 'key:early'`)
  t.equal(await forgetFullBuckets(given.db, 'key:waited for', { limit: 3 }), '', 'round')
  t.ok((await buckets(given)).includes('key:early'))
  await forgetFullBuckets(given.db)
  t.strictSame(await buckets(given), stay)
  t.strictSame((await given.others.query('SELECT key FROM reproq_freed')).rows, [], 'nobody is asked again because of it')
})

t.test('a run whose bucket was forgotten is limited as it says, from SQL, in a workflow and replayed too', async (t) => {
  const rate = `rate_key => 'k', rate_limit => 2, rate_per => '1 day'`
  const node = (name: string) => ({ name, task: 'a', rate: { key: 'k', limit: 2, per_ms: 86_400_000 } })
  const ways: Record<string, (given: Given) => Promise<unknown>> = {
    enqueued: ({ db }) => givenRuns(db, keyed('k'), keyed('k'), keyed('k')),
    'from SQL': ({ others }) => others.query(`SELECT reproq_enqueue('a', ${rate}) FROM generate_series(1, 3)`),
    'in a workflow': ({ others }) => others.query('SELECT reproq_enqueue_workflow($1)', [JSON.stringify(['a', 'b', 'c'].map(node))]),
    replayed: async ({ others }) => {
      const { rows } = await others.query<{ id: string }>(`SELECT result_id::text AS id FROM generate_series(1, 3) g CROSS JOIN LATERAL reproq_enqueue('a' || g, ${rate})`)
      const ids = rows.map(({ id }) => id)
      await others.query(`UPDATE task_runs SET status = 'FAILED', finished_at = now()`)
      await others.query('SELECT reproq_replay($1::bigint[])', [ids])
    },
  }
  for (const [name, make] of Object.entries(ways)) {
    const given = await givenDatabase(t)
    await make(given)
    await forgetFullBuckets(given.db, '', { unusedMs: -1_000 })
    t.strictSame(await buckets(given), [], name)
    const next = await leasing(given)
    t.equal((await next()).length, 2, name)
    t.strictSame((await given.others.query('SELECT key FROM reproq_blocked')).rows, [{ key: 'rate:key:k' }], name)
    await forgetFullBuckets(given.db, '', { unusedMs: -1_000 })
    t.strictSame(await buckets(given), ['key:k'], 'used up, it is not forgotten')
    t.equal((await next()).length, 0, name)
    t.strictSame(await misplaced(given.others), [])
  }
})

t.test('a forgotten bucket that a transaction is making anew keeps waiting its own run, and nothing else', async (t) => {
  const given = await givenDatabase(t)
  const [own, other] = await givenRuns(given.db, keyed('k'), keyed('elsewhere'))
  await forgetFullBuckets(given.db, '', { unusedMs: -1_000 })
  const holder = await given.others.connect()
  t.teardown(() => holder.release(true))
  await holder.query('BEGIN')
  await holder.query(`SELECT reproq_enqueue('a', rate_key => 'k', rate_limit => 2, rate_per => '1 day')`)
  const patient = await given.others.connect()
  t.teardown(() => patient.release(true))
  await patient.query(`SET reproq.internal = 'on'; SET statement_timeout = '10 s'`)
  const { rows } = await patient.query(`SELECT run FROM reproq_lease_gated('{default}', '{1}', '{1}', '{w}', '{00000000-0000-4000-8000-000000000001}', 1000, 10)`)
  t.strictSame(rows, [{ run: other }], 'also where nothing else would end the wait')
  await holder.query('COMMIT')
  const next = await leasing(given)
  await until('it is asked again, and starts', async () => {
    await unblock(given.db)
    return ids(await next()).includes(own as string)
  })
  t.strictSame(await misplaced(given.others), [])
})

t.test('never more starts than burst and rate allow, in any stretch of time, from several brokers at once, while full buckets are forgotten', async (t) => {
  const given = await givenDatabase(t)
  const { others, url } = given
  const buckets: Record<string, { perSecond: number; burst: number }> = { 'task:app.a': { perSecond: 40, burst: 5 }, 'queue:mail': { perSecond: 100, burst: 20 }, 'key:acme': { perSecond: 25, burst: 3 }, 'key:often full': { perSecond: 25, burst: 1 } }
  for (const [key, { perSecond, burst }] of Object.entries(buckets)) await limit(given, key, perSecond, burst)
  const kinds = [{ task_path: 'app.a', queue_name: 'mail' }, { task_path: 'app.b', queue_name: 'mail' }, { task_path: 'app.c', queue_name: 'default', reproq_rate_key: 'acme' }, { task_path: 'app.d', queue_name: 'default', reproq_rate_key: 'often full', reproq_rate_per_second: 25, reproq_rate_burst: 1 }]
  const bucketOf: Record<string, string> = { 'app.a': 'task:app.a', 'app.b': 'queue:mail', 'app.c': 'key:acme', 'app.d': 'key:often full' }
  await others.query(
    `INSERT INTO task_runs (task_path, queue_name, reproq_rate_key, reproq_rate_per_second, reproq_rate_burst, spec_json, spec_hash)
     SELECT k.*, '{}', 'x' FROM jsonb_to_recordset($1) AS k (task_path text, queue_name text, reproq_rate_key text, reproq_rate_per_second real, reproq_rate_burst int), generate_series(1, 200)`,
    [JSON.stringify(kinds)],
  )
  await others.query(`UPDATE rate_limits SET reproq_by_hand = false WHERE key = 'key:often full'`)
  await others.query(`CREATE TABLE forgotten AS SELECT key FROM rate_limits WHERE false;
    CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO forgotten VALUES (OLD.key); RETURN NULL; END $$;
    CREATE TRIGGER remember AFTER DELETE ON rate_limits FOR EACH ROW EXECUTE FUNCTION remember()`)
  // A start lies between the moment its statement was sent and the moment it was answered.
  const starts: { bucket: string; from: number; to: number }[] = []
  const counts = (key: string) => starts.filter(({ bucket }) => bucket === key).length
  const enough = () => Object.entries(buckets).every(([key, { burst }]) => counts(key) > burst + 40)
  const end = performance.now() + 30_000
  await forgetFullBuckets(given.db, '', { unusedMs: -1_000 })
  const forgetting = async () => {
    while (!enough() && performance.now() < end) await forgetFullBuckets(given.db, '', { unusedMs: -1_000 })
  }
  await Promise.all([
    forgetting(),
    ...Array.from({ length: 6 }, async (_, at) => {
      const db = new Pool(url, 1)
      t.teardown(() => db.close())
      const session = await givenSession(db, `w${at}`)
      while (!enough() && performance.now() < end) {
        const from = performance.now()
        const { runs } = await leaseGated(db, QUEUES, Array.from({ length: 10 }, () => session), 60_000)
        const to = performance.now()
        for (const { task } of runs) starts.push({ bucket: bucketOf[task] as string, from, to })
        if (runs.length > 0) await succeed(db, runs.map((run) => ({ ...run, output: '1' })))
      }
    }),
  ])
  const { rowCount: forgotten } = await others.query(`SELECT FROM forgotten`)
  t.ok(forgotten && forgotten > 0, `${forgotten} times a full bucket was forgotten`)
  let checks = 0
  for (const [key, { perSecond, burst }] of Object.entries(buckets)) {
    const byStart = starts.filter(({ bucket }) => bucket === key).toSorted((a, b) => a.to - b.to)
    const tooMany: string[] = []
    for (let first = 0; first < byStart.length; first++) {
      let earliest = Number.POSITIVE_INFINITY
      for (let last = first; last < byStart.length; last++) {
        earliest = Math.min(earliest, (byStart[last] as { from: number }).from)
        const stretchMs = (byStart[last] as { to: number }).to - earliest
        checks++
        if (last - first + 1 > burst + (perSecond * stretchMs) / 1_000 + 0.01) tooMany.push(`${last - first + 1} in ${stretchMs} ms`)
      }
    }
    t.strictSame(tooMany, [], key)
    t.ok(byStart.length > burst + 40, `${key} was used: ${byStart.length} starts`)
  }
  t.comment(`${starts.length} starts, ${checks} stretches of time checked`)
  t.ok(checks > 2_000)
  // A cancel of everything: nothing is left behind.
  await others.query(`UPDATE task_runs SET status = 'CANCELLED' WHERE status = 'READY'`)
  t.strictSame(await misplaced(others), [])
})
