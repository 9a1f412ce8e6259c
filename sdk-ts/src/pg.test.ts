import pg from 'pg'
import t, { type Test } from 'tap'
import * as z from 'zod'
import { newRun } from '../../server/src/runs/spec.js'
import { testDatabase } from '../../test/helpers/database.js'
import { defineTask } from './define-task.js'
import { float } from './float.js'
import { Reproq } from './index.js'
import { enqueueInTransaction } from './pg.js'
import { remoteTask } from './remote-task.js'
import { scriptedBroker } from './scripted-broker.test.given.js'

const send = defineTask({ name: 'email.send', input: z.object({ to: z.string() }), queue: 'mail', priority: 3, retry: { attempts: 5 }, timeout: '1500ms', run() {} })
const tick = defineTask({ name: 'tick', run() {} })

/** Your own connection with an open transaction, and a look at what others see. */
async function transaction(t: Test) {
  const { pool, url } = await testDatabase(t)
  const tx = new pg.Client({ connectionString: url })
  await tx.connect()
  t.teardown(() => tx.end())
  await tx.query('BEGIN')
  const rows = async () => (await pool.query('SELECT result_id::text AS id, task_path, queue_name, priority, max_attempts, timeout_seconds, spec_json, run_after - now() AS due_in FROM task_runs ORDER BY result_id')).rows
  return { tx, rows }
}

t.test('a run exists when the transaction commits, with the input and the defaults of its task', async (t) => {
  const { tx, rows } = await transaction(t)

  const { id, deduplicated } = await enqueueInTransaction(tx, send, { to: 'ada' })
  t.same(await rows(), [], 'nobody sees it before')
  await tx.query('COMMIT')

  t.equal(deduplicated, false)
  t.match(await rows(), [{ id, task_path: 'email.send', queue_name: 'mail', priority: 3, max_attempts: 5, timeout_seconds: 2, spec_json: { args: [{ to: 'ada' }], kwargs: {} }, due_in: null }])
})

t.test('a run never existed when the transaction rolls back', async (t) => {
  const { tx, rows } = await transaction(t)

  await enqueueInTransaction(tx, tick)
  await tx.query('ROLLBACK')

  t.same(await rows(), [])
})

t.test('what is left out gets the defaults of the database', async (t) => {
  const { tx, rows } = await transaction(t)

  await enqueueInTransaction(tx, tick)
  await tx.query('COMMIT')

  t.match(await rows(), [{ queue_name: 'default', priority: 0, max_attempts: 3, timeout_seconds: 900, spec_json: { args: [] } }])
})

t.test('a delay starts from the clock of the database, an instant is itself', async (t) => {
  const { tx, rows } = await transaction(t)

  await enqueueInTransaction(tx, tick, undefined, { delay: '1h' })
  await enqueueInTransaction(tx, tick, undefined, { runAt: new Date(Date.now() + 86_400_000) })
  await tx.query('COMMIT')

  const minutes = (await rows()).map(({ due_in }) => Math.round(((due_in.hours ?? 0) * 3_600 + (due_in.minutes ?? 0) * 60 + (due_in.seconds ?? 0) + (due_in.days ?? 0) * 86_400) / 60))
  t.same(minutes, [60, 1_440])
})

t.test('an idempotency key makes one run', async (t) => {
  const { tx, rows } = await transaction(t)

  const first = await enqueueInTransaction(tx, tick, undefined, { idempotencyKey: 'once' })
  const second = await enqueueInTransaction(tx, tick, undefined, { idempotencyKey: 'once' })
  await tx.query('COMMIT')

  t.same(second, { id: first.id, deduplicated: true })
  t.equal((await rows()).length, 1)
})

t.test('a task of another language keeps its arguments', async (t) => {
  const { tx, rows } = await transaction(t)

  await enqueueInTransaction(tx, remoteTask<{ args: [number]; kwargs: { by: number } }>('mypkg.add'), { args: [1], kwargs: { by: 2 } })
  await tx.query('COMMIT')

  t.match(await rows(), [{ task_path: 'mypkg.add', spec_json: { args: [1], kwargs: { by: 2 } } }])
})

t.test('what a run asks for goes with it, and a float stays one', async (t) => {
  const { tx } = await transaction(t)

  await enqueueInTransaction(tx, 'charge', { by: float(2) }, { lockKey: 'l', concurrency: { key: 'c', limit: 2 }, rate: { key: 'r', limit: 30, per: '1m', burst: 5 }, fairKey: 'f', expiresIn: '1h', retry: { min: '2s' } })

  const { rows } = await tx.query(`SELECT lock_key, concurrency_key, concurrency_limit, reproq_rate_key, reproq_fair_key, expires_at - now() = interval '1 h' AS expires, reproq_retry,
    spec_json->>'args' AS args, (SELECT row_to_json(b) FROM rate_limits b WHERE key = 'key:r') AS bucket FROM task_runs`)
  t.match(rows, [{ lock_key: 'l', concurrency_key: 'c', concurrency_limit: 2, reproq_rate_key: 'r', reproq_fair_key: 'f', expires: true, reproq_retry: { base_ms: 2_000 }, args: '[{"by": 2.0}]', bucket: { tokens_per_second: 0.5, burst_size: 5 } }])
})

t.test('an equal run is not made, whether it was enqueued here or through the broker', async (t) => {
  const { tx, rows } = await transaction(t)

  const first = await enqueueInTransaction(tx, 'scale', { by: float(2) }, { deduplicate: true, queue: 'q', lockKey: 'l' })
  const second = await enqueueInTransaction(tx, 'scale', { by: float(2) }, { deduplicate: true, queue: 'q', lockKey: 'l' })
  const other = await enqueueInTransaction(tx, 'scale', { by: 2 }, { deduplicate: true, queue: 'q', lockKey: 'l' })
  await tx.query('COMMIT')

  t.same(second, { id: first.id, deduplicated: true })
  t.equal(other.deduplicated, false, '2 is not 2.0')
  t.equal((await rows()).length, 2)
  const source = '{"task":"scale","args":[{"by":2.0}],"queue":"q","lock_key":"l","deduplicate":true}'
  const { rows: hashes } = await tx.query('SELECT spec_hash FROM task_runs WHERE result_id = $1', [first.id])
  t.equal(hashes[0].spec_hash, newRun(JSON.parse(source), source, 1_000).specHash)
  await t.rejects(enqueueInTransaction(tx, 'scale', 1, { deduplicate: true, delay: '1m' }), { name: 'InvalidOption', message: /exclude each other/ })
})

t.test('an input that does not fit leaves the transaction usable', async (t) => {
  const { tx, rows } = await transaction(t)

  await t.rejects(enqueueInTransaction(tx, send, { to: 5 as unknown as string }), { name: 'InvalidInput' })
  await enqueueInTransaction(tx, tick)
  await tx.query('COMMIT')

  t.equal((await rows()).length, 1)
})

t.test('the client enqueues through tx without asking the broker, and waits for the run through it', async (t) => {
  const { tx, rows } = await transaction(t)
  const broker = await scriptedBroker(t, { body: { status: 'SUCCESSFUL', output: 5 } })
  const rq = new Reproq({ url: broker.url })
  t.teardown(() => rq.close())

  const run = await rq.enqueue(tick, undefined, { tx })
  t.equal(broker.requests.length, 0)
  await tx.query('COMMIT')

  t.match(await rows(), [{ id: run.id }])
  t.equal(await run.result(), 5)
  t.equal(broker.requests[0]?.path, `/v1/runs/${run.id}?wait_ms=30000`)
})

t.test('a database that answers no row is behind, and the error says so', async (t) => {
  await t.rejects(enqueueInTransaction({ query: async () => ({ rows: [] }) }, tick), { code: 'NO_RUN', hint: /reproq migrate/ })
})
