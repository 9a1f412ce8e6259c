import { spawnSync } from 'node:child_process'
import t, { type Test } from 'tap'
import { float, jsonText } from '../../../sdk-ts/src/float.js'
import { controlFor, givenDatabase, givenForeignRun, misplaced, newRunOf, rowOf, type Given } from '../../../test/helpers/given.js'
import { Pool } from '../db/pool.js'
import type { Statement } from '../db/statement.js'
import { cancel } from './cancel.js'
import { enqueue } from './enqueue.js'
import { lease } from './lease.js'
import { replay } from './replay.js'
import { requeue } from './requeue.js'
import { newRun, type NewRun } from './spec.js'
import { succeed } from './succeed.js'

const alone = (run: Partial<NewRun> = {}) => newRunOf({ control: controlFor({ deduplicate: true }), ...run })
const slot = { sessionId: '1', workerId: 'w' }
const one = async (db: Pool, run: NewRun) => (await enqueue(db, [run]))[0] as { id: string; deduplicated: boolean }
const runAll = async (db: Pool) => succeed(db, (await lease(db, ['default'], Array<typeof slot>(50).fill(slot), 60_000)).runs.map(({ run, lease: id }) => ({ run, lease: id, output: 'null' })))
const count = async ({ others }: Given, table: string) => Number((await others.query(`SELECT count(*) FROM ${table}`)).rows[0].count)

t.test('an equal run is not made while the first waits, is scheduled or runs, and is made again when it is over', async (t) => {
  const { db, others } = await givenDatabase(t)
  for (const [what, run] of [['waits', alone()], ['is scheduled', alone({ specHash: 's', runAfterMs: Date.now() + 3_600_000 })]] as const) {
    const first = await one(db, run)
    t.match([first, await one(db, run)], [{ deduplicated: false }, { id: first.id, deduplicated: true }], what)
  }
  const { runs } = await lease(db, ['default'], [slot], 60_000)
  t.match(await one(db, alone()), { id: runs[0]?.run, deduplicated: true }, 'runs')
  await succeed(db, [{ run: runs[0]?.run as string, lease: runs[0]?.lease as string, output: '1' }])
  const again = await one(db, alone())
  t.match(again, { deduplicated: false }, 'is over')
  t.not(again.id, runs[0]?.run)
  await cancel(db, [again.id])
  t.match(await one(db, alone()), { deduplicated: false }, 'was cancelled')
  t.strictSame(await misplaced(others), [])
})

t.test('equal runs of one batch make one', async (t) => {
  const given = await givenDatabase(t)
  const placed = await enqueue(given.db, [alone(), newRunOf(), alone(), alone({ specHash: 'other' })])
  t.strictSame(placed.map(({ deduplicated }) => deduplicated), [false, false, true, false])
  t.equal(placed[2]?.id, placed[0]?.id)
  t.equal(await count(given, 'task_runs'), 3)
})

t.test('off makes two, whether the other asked or not, and writes no hash', async (t) => {
  const given = await givenDatabase(t)
  await one(given.db, newRunOf())
  await one(given.db, newRunOf())
  t.equal(await count(given, 'task_runs'), 2)
  t.equal(await count(given, 'reproq_unique') + (await count(given, 'reproq_twins')), 0)
})

t.test('a run that expired while it waited is in nobody\'s way', async (t) => {
  const { db, others } = await givenDatabase(t)
  const first = await one(db, alone({ control: controlFor({ deduplicate: true, expiresInMs: 3_600_000 }) }))
  t.match(await one(db, alone()), { id: first.id, deduplicated: true })
  await others.query("UPDATE task_runs SET expires_at = now() - interval '1 s'")
  t.match(await one(db, alone()), { deduplicated: false })
})

t.test('whoever deletes a run frees its hash', async (t) => {
  const given = await givenDatabase(t)
  for (const remove of ['DELETE FROM task_runs', 'TRUNCATE task_runs CASCADE']) {
    await one(given.db, alone())
    await givenForeignRun(given.others)
    await given.others.query(remove)
    t.equal(await count(given, 'reproq_unique') + (await count(given, 'reproq_twins')), 0, remove)
    t.match(await one(given.db, alone()), { deduplicated: false }, remove)
    await given.others.query('DELETE FROM task_runs')
  }
})

t.test('of many others that come with one hash, those that are over are forgotten', async (t) => {
  const given = await givenDatabase(t)
  for (let i = 0; i < 20; i++) {
    await givenForeignRun(given.others)
    await given.others.query("UPDATE task_runs SET status = 'SUCCESSFUL'")
  }
  t.equal(await count(given, 'reproq_twins'), 1)
})

t.test('transactions of others that insert one hash do not wait for each other', async (t) => {
  const { others } = await givenDatabase(t)
  const first = await others.connect()
  await first.query("BEGIN; INSERT INTO task_runs (spec_json, spec_hash, task_path) VALUES ('{}', 'x', 'a')")
  await others.query("SET statement_timeout = '5s'; INSERT INTO task_runs (spec_json, spec_hash, task_path) VALUES ('{}', 'x', 'a')")
  await first.query('COMMIT')
  first.release()
})

const pythonMissing = spawnSync('python3', ['--version']).error ? 'python3 is not installed' : false

t.test('a run is deduplicated against its twin as Django hashes it', { skip: pythonMissing }, async (t) => {
  const { db, others } = await givenDatabase(t)
  // Of each, a request as the SDK sends it, and the keyword arguments of the same enqueue in Django.
  const twins: [object, string][] = [
    [{ args: [1] }, 'args=[1]'],
    [{ args: [float(2), 2], kwargs: { b: float(-0), a: 0.1 } }, "args=[2.0, 2], kwargs={'a': 0.1, 'b': -0.0}"],
    [{ args: [float(1e16), 'é\u2028"', [null, true]] }, "args=[1e16, 'é\\u2028\"', [None, True]]"],
    [{ args: [], lock_key: 'l', priority: 3, queue: 'mail' }, "lock_key='l', priority=3, queue_name='mail'"],
    [{ args: [], concurrency_key: 'c"ü', concurrency_limit: 2 }, "concurrency_key='c\"ü', concurrency_limit=2"],
    [{ args: [], run_after: '2040-01-02T03:04:05.678Z', max_attempts: 7, timeout_ms: 1_500 }, "run_after=datetime(2040, 1, 2, 3, 4, 5, 678000, timezone.utc).isoformat(), exec={'timeout_seconds': 2, 'max_attempts': 7}"],
  ]
  for (const [index, [request, python]] of twins.entries()) {
    const [hash, spec] = asDjangoHashes(`task_path='app.t${index}', ${python}`)
    const source = jsonText({ task: `app.t${index}`, deduplicate: true, ...request })
    const run = newRun(JSON.parse(source), source, 1_000_000)
    t.equal(run.specHash, hash, python)
    const id = await givenForeignRun(others, { spec_json: spec, spec_hash: hash })
    t.match(await one(db, run), { id, deduplicated: true }, python)
    await others.query("UPDATE task_runs SET status = 'FAILED' WHERE result_id = $1", [id])
    t.match(await one(db, run), { deduplicated: false }, 'and not when that is over')
  }
})

async function givenGoSchema(t: Test, type: string): Promise<Given> {
  const given = await givenDatabase(t)
  await given.others.query(`ALTER TABLE task_runs ALTER spec_hash TYPE ${type}`)
  await given.others.query("CREATE UNIQUE INDEX idx_task_runs_spec_unique ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING')")
  return given
}
const GO_TYPES = ['varchar(64)', 'char(64)']

for (const type of GO_TYPES) t.test(`in a database of the Go schema (${type}) the index finds the twin among many`, async (t) => {
  const { db, others } = await givenGoSchema(t, type)
  await others.query("INSERT INTO task_runs (spec_json, spec_hash, task_path) SELECT '{}', md5(n::text) || md5(n::text), 't' FROM generate_series(1, 20000) n")
  await others.query('ANALYZE task_runs')
  const pages = async (call: string) => {
    const explain = { name: call, text: `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT ${call}` } as Statement<[], { 'QUERY PLAN': string }>
    // Once for the catalogues, which are read when a session first needs them.
    await db.query(explain, [])
    const [row] = await db.query(explain, [])
    const [{ Plan: plan }] = JSON.parse(row?.['QUERY PLAN'] ?? '') as [{ Plan: Record<string, number> }]
    return (plan['Shared Hit Blocks'] ?? 0) + (plan['Shared Read Blocks'] ?? 0)
  }
  for (const call of [`reproq_active_twin(md5('7') || md5('7'))`, `reproq_twin_of(md5('7') || md5('7'), 0)`, `reproq_active_twin('none')`]) {
    const read = await pages(call)
    t.ok(read < 30, `${call} reads ${read} pages`)
  }
})

for (const type of GO_TYPES) t.test(`in a database of the Go schema (${type}) a run that expired while it waited makes room for an equal one`, async (t) => {
  const { db, others } = await givenGoSchema(t, type)
  const given = async () => {
    const { id } = await one(db, alone({ control: controlFor({ deduplicate: true, expiresInMs: 3_600_000 }) }))
    await others.query("UPDATE task_runs SET expires_at = now() - interval '1 s' WHERE result_id = $1", [id])
    return id
  }
  const first = await given()
  const second = await given()
  t.not(second, first)
  t.match(await rowOf(others, first), { status: 'CANCELLED', last_error: /^expired: Not started before/ })
  t.match(await replay(db, [first]), [{ outcome: 'replayed' }])
  t.equal((await rowOf(others, second)).status, 'CANCELLED')
  await others.query("UPDATE task_runs SET expires_at = now() - interval '1 s' WHERE status = 'READY'")
  t.match(await requeue(db, [first]), [{ outcome: 'retried' }])
  t.strictSame(await misplaced(others), [])
})

t.test('a run that is retried is a twin again, though another had taken its hash', async (t) => {
  const { db, others } = await givenDatabase(t)
  const over = (id: string) => others.query("UPDATE task_runs SET status = 'FAILED', finished_at = now() WHERE result_id = $1", [id])
  const byAdmin = (id: string) => others.query("UPDATE task_runs SET status = 'READY', attempts = 0 WHERE result_id = $1", [id])
  for (const [how, retry] of [['the broker', (id: string) => requeue(db, [id])], ['others', byAdmin]] as const) {
    const hash = { spec_hash: how }
    const first = await givenForeignRun(others, hash)
    await over(first)
    await over(await givenForeignRun(others, hash))
    await retry(first)
    t.match(await one(db, alone({ specHash: how })), { id: first, deduplicated: true }, `another's, by ${how}`)
    await over(first)

    const ours = await one(db, alone({ specHash: how }))
    await over(ours.id)
    await over((await one(db, alone({ specHash: how }))).id)
    await retry(ours.id)
    t.match(await one(db, alone({ specHash: how })), { id: ours.id, deduplicated: true }, `ours, by ${how}`)
    await over(ours.id)
  }
})

for (const type of GO_TYPES) t.test(`in a database of the Go schema (${type}) an equal run is anybody's, and off still makes two`, async (t) => {
  const { db, others } = await givenGoSchema(t, type)
  const first = await one(db, newRunOf())
  t.match(await one(db, alone()), { id: first.id, deduplicated: true }, 'one that did not ask')
  await t.rejects(enqueue(db, [newRunOf()]), { cause: { code: '23505' } }, 'the statement alone meets the index; Ingest tells such runs apart')
  t.match((await others.query("SELECT * FROM reproq_enqueue('a', deduplicate => true, canonical_spec => 'x')")).rows, [{ deduplicated: false }])
  await others.query("DELETE FROM reproq_unique")
  t.match((await others.query("SELECT * FROM reproq_enqueue('a', deduplicate => true, canonical_spec => 'x')")).rows, [{ deduplicated: true }])
})

t.test('reproq_enqueue deduplicates as well, against its own and everybody else\'s', async (t) => {
  const given = await givenDatabase(t)
  const call = async (named: string) => (await given.others.query<{ result_id: string; deduplicated: boolean }>(`SELECT * FROM reproq_enqueue('a.b', ${named})`)).rows[0]
  const first = await call(`args => '[1]', deduplicate => true`)
  t.match(await call(`args => '[1]', deduplicate => true`), { result_id: first?.result_id, deduplicated: true })
  t.match(await call(`args => '[2]', deduplicate => true`), { deduplicated: false })
  t.match(await call(`args => '[1]'`), { deduplicated: false }, 'off')
  await runAll(given.db)
  t.match(await call(`args => '[1]', deduplicate => true`), { deduplicated: false }, 'over')
  await t.rejects(call(`deduplicate => true, idempotency_key => 'k'`), { message: /exclude each other/ })
  const foreign = await givenForeignRun(given.others, { spec_hash: (await rowOf(given.others, first?.result_id as string)).spec_hash })
  await runAll(given.db)
  const again = await givenForeignRun(given.others, { spec_hash: (await rowOf(given.others, foreign)).spec_hash })
  t.match(await call(`args => '[1]', deduplicate => true`), { result_id: again, deduplicated: true })
  t.equal(await count(given, 'reproq_twins'), 1, 'what the function makes is not registered as others are')
})

t.test('however many ask at once, while runs end, no two equal ones are alive', async (t) => {
  const given = await givenDatabase(t)
  // The witness: it refuses what must not be.
  await given.others.query("CREATE UNIQUE INDEX witness ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING')")
  const pools = Array.from({ length: 4 }, () => new Pool(given.url, 4))
  t.teardown(() => Promise.all(pools.map((pool) => pool.close())))
  const until = performance.now() + 4_000
  let asked = 0
  let made = 0
  const violations: unknown[] = []
  const produce = async (pool: Pool, seed: number) => {
    for (let round = seed; performance.now() < until; round++) {
      const hashes = Array.from({ length: 5 }, (_, at) => `h${(round * 7 + at) % 8}`)
      const runs = hashes.map((specHash) => alone({ specHash }))
      asked += runs.length
      const placed = await enqueue(pool, round % 2 ? runs : runs.toReversed()).catch((error: unknown) => (violations.push(error), []))
      made += placed.filter(({ deduplicated }) => !deduplicated).length
    }
  }
  const consume = async () => {
    for (let round = 0; performance.now() < until; round++) {
      await runAll(given.db)
      if (round % 3 === 0) await cancel(given.db, (await given.others.query<{ id: string }>("SELECT result_id::text AS id FROM task_runs WHERE status = 'READY'")).rows.map(({ id }) => id))
    }
  }
  await Promise.all([consume(), ...pools.flatMap((pool, at) => [produce(pool, at), produce(pool, at * 31), produce(pool, at * 53)])])
  t.strictSame(violations, [])
  t.ok(made > 50 && asked > made * 2, `${made} made of ${asked} asked for`)
  t.comment(`${asked} enqueues of 8 hashes made ${made} runs; 0 violations`)
  t.equal(await count(given, 'task_runs'), made, 'every answer stands for a run')
  t.strictSame(await misplaced(given.others), [])
})

/** The hash and the spec of an enqueue by Reproq's Django backend, whose rule this follows. */
function asDjangoHashes(fields: string): [hash: string, spec: string] {
  const program = `
import hashlib, json
from datetime import datetime, timezone
spec = dict(v=1, args=[], kwargs={}, takes_context=False, queue_name='default', priority=0, lock_key=None, concurrency_key=None, concurrency_limit=0, run_after=None,
            exec={'timeout_seconds': 900, 'max_attempts': 3}, provenance={'code_ref': None, 'pip_lock_hash': None})
spec.update(dict(${fields}))
text = json.dumps(spec, sort_keys=True, separators=(',', ':'), ensure_ascii=False)
print(json.dumps([hashlib.sha256(text.encode()).hexdigest(), text]))
`
  const { status, stdout, stderr } = spawnSync('python3', ['-c', program], { encoding: 'utf8', env: { ...process.env, PYTHONUTF8: '1' } })
  if (status !== 0) throw new Error(`python3 failed: ${stderr}`)
  return JSON.parse(stdout)
}
