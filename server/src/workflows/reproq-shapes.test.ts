import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { emptyDatabase } from '../../../test/helpers/database.js'
import { givenDatabase, givenForeignRun, givenSession, misplaced, rowOf, type Given } from '../../../test/helpers/given.js'
import { advanceAll, leaseAll, misled, statesOf } from '../../../test/helpers/given-workflow.js'
import { migrate } from '../db/migrate.js'
import { Pool } from '../db/pool.js'
import { finalize } from '../runs/finalize.js'
import type { Leased } from '../runs/lease.js'
import { succeed } from '../runs/succeed.js'
import { reap, type Session } from '../sessions/sessions.js'
import { advance } from './advance.js'

// Rows as reproq_django/workflows.py writes them: one insert after the other, each committed by itself.

const hash = () => randomUUID().replaceAll('-', '')

/** A link of a chain: the first is READY, each other WAITING for the one before. */
function link({ others }: Given, workflow: string, before?: string): Promise<string> {
  return givenForeignRun(others, { spec_hash: hash(), workflow_id: workflow, errors_json: '[]', ...(before === undefined ? { status: 'READY', wait_count: 0 } : { status: 'WAITING', parent_id: before, wait_count: 1 }) })
}

const member = ({ others }: Given, workflow: string) => givenForeignRun(others, { spec_hash: hash(), workflow_id: workflow, status: 'READY', wait_count: 0, errors_json: '[]' })

function callback({ others }: Given, workflow: string, members: number): Promise<string> {
  return givenForeignRun(others, { spec_hash: hash(), workflow_id: workflow, status: members === 0 ? 'READY' : 'WAITING', wait_count: members, errors_json: '[]' })
}

/** What a chord is written with last. */
async function workflowRun({ others }: Given, workflow: string, members: number, callbackId: string): Promise<void> {
  await others.query(`INSERT INTO workflow_runs (workflow_id, expected_count, success_count, failure_count, callback_result_id, status, created_at, updated_at) VALUES ($1, $2, 0, 0, $3, $4, now(), now())`, [
    workflow,
    members,
    callbackId,
    members === 0 ? 'WAITING_CALLBACK' : 'RUNNING',
  ])
}

async function chord(given: Given, members: number): Promise<{ workflow: string; members: string[]; callback: string }> {
  const workflow = randomUUID()
  const ids: string[] = []
  for (let at = 0; at < members; at++) ids.push(await member(given, workflow))
  const last = await callback(given, workflow, members)
  await workflowRun(given, workflow, members, last)
  return { workflow, members: ids, callback: last }
}

const well = (given: Given, leased: Leased[]) => succeed(given.db, leased.map((item) => ({ ...item, output: item.run })))
const badly = (given: Given, leased: Leased[], status: 'FAILED' | 'CANCELLED' = 'FAILED') => finalize(given.db, leased.map((item) => ({ ...item, status, error: '{}', lastError: 'E: no', delayMs: 0 })))

async function workflowOf({ others }: Given, workflow: string) {
  const { rows } = await others.query<{ status: string }>('SELECT status, expected_count, success_count, failure_count FROM workflow_runs WHERE workflow_id = $1', [workflow])
  return rows[0]
}

async function settled(t: Test, given: Given) {
  await advanceAll(given.db)
  t.strictSame(await misled(given.others), [])
  t.strictSame(await misplaced(given.others), [])
}

async function start(t: Test): Promise<{ given: Given; session: Session }> {
  const given = await givenDatabase(t)
  return { given, session: await givenSession(given.db) }
}

t.test('a chain runs link by link, and each finds what the one before returned', async (t) => {
  const { given, session } = await start(t)
  const workflow = randomUUID()
  const one = await link(given, workflow)
  const two = await link(given, workflow, one)
  const three = await link(given, workflow, two)
  for (const [id, before] of [[one], [two, one], [three, two]] as const) {
    await advanceAll(given.db)
    const leased = await leaseAll(given.db, session)
    t.strictSame(leased.map(({ run }) => run), [id])
    t.strictSame(leased[0]?.parents && (JSON.parse(leased[0].parents) as unknown), before ? { [before]: { run: before, status: 'SUCCESSFUL', output: Number(before) } } : null)
    await well(given, leased)
  }
  await settled(t, given)
})

t.test('a link that has ended before the next one is written does not leave it waiting, however it ended', async (t) => {
  for (const ended of ['SUCCESSFUL', 'FAILED', 'CANCELLED'] as const) {
    for (const seen of [true, false]) {
      const { given, session } = await start(t)
      const workflow = randomUUID()
      const one = await link(given, workflow)
      const leased = await leaseAll(given.db, session)
      await (ended === 'SUCCESSFUL' ? well(given, leased) : badly(given, leased, ended))
      // Whether its end was worked off before the next link was there, or together with it.
      if (seen) await advanceAll(given.db)
      const two = await link(given, workflow, one)
      const three = await link(given, workflow, two)
      await settled(t, given)
      const expected = ended === 'SUCCESSFUL' ? ['READY', 'WAITING'] : [ended, ended]
      t.strictSame(Object.values(await statesOf(given.others, { two, three })), expected, `${ended} ${seen}`)
    }
  }
})

t.test('a link that fails fails the rest, as workflow_failed', async (t) => {
  const { given, session } = await start(t)
  const workflow = randomUUID()
  const one = await link(given, workflow)
  const two = await link(given, workflow, one)
  const three = await link(given, workflow, two)
  await badly(given, await leaseAll(given.db, session))
  await settled(t, given)
  for (const id of [two, three]) t.match(await rowOf(given.others, id), { status: 'FAILED', errors_json: [{ kind: 'workflow_failed', failed_result_id: Number(one) }] })
})

t.test("a chord's callback starts when all members have succeeded; its row in workflow_runs counts them", async (t) => {
  const { given, session } = await start(t)
  const { workflow, callback: last } = await chord(given, 3)
  const leased = await leaseAll(given.db, session)
  t.equal(leased.length, 3)
  await well(given, leased.slice(0, 2))
  await settled(t, given)
  t.match(await workflowOf(given, workflow), { status: 'RUNNING', success_count: 2, failure_count: 0 })
  await well(given, leased.slice(2))
  await settled(t, given)
  t.match(await workflowOf(given, workflow), { status: 'WAITING_CALLBACK', success_count: 3 })
  const [called] = await leaseAll(given.db, session)
  t.equal(called?.run, last)
  t.strictSame(Object.keys(JSON.parse(called?.parents ?? '{}') as object), leased.map(({ run }) => run))
  await well(given, [called as Leased])
  await settled(t, given)
  t.match(await workflowOf(given, workflow), { status: 'SUCCESSFUL', success_count: 3, failure_count: 0 })
})

t.test('members that end before the callback, or before workflow_runs, is written are counted all the same', async (t) => {
  for (const when of ['before the callback', 'before workflow_runs', 'seen before workflow_runs'] as const) {
    const { given, session } = await start(t)
    const workflow = randomUUID()
    await member(given, workflow)
    await member(given, workflow)
    if (when === 'before the callback') await well(given, await leaseAll(given.db, session))
    const last = await callback(given, workflow, 2)
    if (when !== 'before the callback') await well(given, await leaseAll(given.db, session))
    if (when === 'seen before workflow_runs') await advanceAll(given.db)
    await workflowRun(given, workflow, 2, last)
    await settled(t, given)
    t.match(await rowOf(given.others, last), { status: 'READY', wait_count: 0 }, when)
    t.match(await workflowOf(given, workflow), { status: 'WAITING_CALLBACK', success_count: 2, failure_count: 0 }, when)
  }
})

t.test('a writer that dies before it writes workflow_runs leaves a callback that runs', async (t) => {
  const { given, session } = await start(t)
  const workflow = randomUUID()
  await member(given, workflow)
  const last = await callback(given, workflow, 1)
  await well(given, await leaseAll(given.db, session))
  await settled(t, given)
  t.match(await rowOf(given.others, last), { status: 'READY' })
})

t.test('a member that fails, is cancelled, or is lost with its worker fails the callback; one that is tried again opens it', async (t) => {
  for (const how of ['FAILED', 'CANCELLED', 'reaped'] as const) {
    const { given, session } = await start(t)
    const { workflow, members, callback: last } = await chord(given, 2)
    const [one, two] = await leaseAll(given.db, session)
    await well(given, [one as Leased])
    if (how === 'reaped') {
      await given.others.query(`UPDATE task_runs SET max_attempts = 1 WHERE result_id = $1`, [members[1]])
      await given.others.query(`UPDATE reproq_sessions SET expires_at = now() - interval '1 s'`)
      await reap(given.db)
    } else await badly(given, [two as Leased], how)
    await settled(t, given)
    t.match(await rowOf(given.others, last), { status: how === 'CANCELLED' ? 'CANCELLED' : 'FAILED', errors_json: [{ kind: 'workflow_failed', failed_result_id: Number(members[1]) }] }, how)
    t.match(await workflowOf(given, workflow), { status: 'FAILED', success_count: 1, failure_count: 1 }, how)

    await given.others.query(`UPDATE task_runs SET status = 'READY', attempts = 0, run_after = now(), finished_at = NULL, failed_at = NULL, last_error = NULL WHERE result_id = $1`, [members[1]])
    await settled(t, given)
    t.match(await rowOf(given.others, last), { status: 'WAITING', wait_count: 1 }, how)
    t.match(await workflowOf(given, workflow), { status: 'RUNNING', success_count: 1, failure_count: 0 }, how)
    await well(given, await leaseAll(given.db, await givenSession(given.db, 'again')))
    await settled(t, given)
    t.match(await rowOf(given.others, last), { status: 'READY' }, how)
    t.match(await workflowOf(given, workflow), { status: 'WAITING_CALLBACK', success_count: 2, failure_count: 0 }, how)
  }
})

t.test('an empty chord ends; a group is listed', async (t) => {
  const { given, session } = await start(t)
  const { workflow } = await chord(given, 0)
  await well(given, await leaseAll(given.db, session))
  await settled(t, given)
  t.match(await workflowOf(given, workflow), { status: 'SUCCESSFUL', expected_count: 0, success_count: 0, failure_count: 0 })
  const group = randomUUID()
  await member(given, group)
  await member(given, group)
  await badly(given, (await leaseAll(given.db, session)).slice(1))
  await settled(t, given)
  t.match((await given.others.query('SELECT status, total, succeeded, failed FROM reproq_workflows WHERE workflow_id = $1', [group])).rows, [{ status: 'RUNNING', total: 2, failed: 1 }])
})

t.test('a Go worker beside us does its own sums, and they come out right', async (t) => {
  const { given } = await start(t)
  const { workflow, members, callback: last } = await chord(given, 2)
  await advanceAll(given.db)
  for (const id of members) {
    const client = await given.others.connect()
    await client.query('BEGIN')
    await client.query(`UPDATE task_runs SET status = 'RUNNING', leased_by = 'go' WHERE result_id = $1`, [id])
    await client.query(`UPDATE task_runs SET status = 'SUCCESSFUL', finished_at = now() WHERE result_id = $1`, [id])
    await client.query(`UPDATE workflow_runs SET success_count = success_count + 1, updated_at = now() WHERE workflow_id = $1 AND status <> 'FAILED'`, [workflow])
    await client.query(`UPDATE task_runs SET status = 'READY', wait_count = 0 WHERE result_id = $1 AND status = 'WAITING' AND EXISTS (SELECT FROM workflow_runs WHERE workflow_id = $2 AND success_count >= expected_count)`, [last, workflow])
    await client.query('COMMIT')
    client.release()
    await settled(t, given)
  }
  t.match(await workflowOf(given, workflow), { status: 'WAITING_CALLBACK', success_count: 2, failure_count: 0 })
  t.match(await rowOf(given.others, last), { status: 'READY' })

  const chain = randomUUID()
  const one = await link(given, chain)
  const two = await link(given, chain, one)
  await advanceAll(given.db)
  await given.others.query(`BEGIN; UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id = ${one};
    UPDATE task_runs SET wait_count = wait_count - 1, status = CASE WHEN wait_count - 1 <= 0 THEN 'READY' ELSE status END WHERE parent_id = ${one} AND status = 'WAITING'; COMMIT`)
  await settled(t, given)
  t.match(await rowOf(given.others, two), { status: 'READY', wait_count: 0 })
})

t.test('a row of workflow_runs that somebody holds is brought up to date later, and holds up nothing', async (t) => {
  const { given, session } = await start(t)
  const { workflow, callback: last } = await chord(given, 1)
  await advanceAll(given.db)
  const client = await given.others.connect()
  await client.query('BEGIN')
  await client.query('SELECT FROM workflow_runs FOR UPDATE')
  await well(given, await leaseAll(given.db, session))
  t.match(await advance(given.db, 10), { postponed: 1, runs: [{ run: last, status: 'READY' }] })
  t.match(await advance(given.db, 10), { taken: 0, postponed: 1 }, 'not an end of it, and nothing to go on with at once')
  await client.query('COMMIT')
  client.release()
  await settled(t, given)
  t.match(await workflowOf(given, workflow), { status: 'WAITING_CALLBACK', success_count: 1 })
})

for (const producer of ['django', 'go']) {
  t.test(`what waited for ever in a database that ${producer} made moves on when it is adopted`, async (t) => {
    const { url, pool: others } = await emptyDatabase(t)
    await others.query(readFileSync(new URL(`../../../../test/compat/${producer}-schema.sql`, import.meta.url), 'utf8'))
    const insert = async (id: number, workflow: string, status: string, more: { parent_id?: number; wait_count?: number } = {}) => {
      await others.query(
        `INSERT INTO task_runs (result_id, backend_alias, queue_name, priority, spec_json, spec_hash, task_path, status, enqueued_at, attempts, max_attempts, timeout_seconds, concurrency_limit, worker_ids, errors_json,
                                metadata_json, wait_count, created_at, updated_at, cancel_requested, workflow_id, parent_id)
         VALUES ($1, 'default', 'default', 0, '{"task_path": "t"}', $2, 't', $3, now(), 0, 3, 900, 0, '[]', '[]', '{}', $4, now(), now(), false, $5, $6)`,
        [id, hash(), status, more.wait_count ?? 0, workflow, more.parent_id ?? null],
      )
    }
    const [chain, done, ended] = [randomUUID(), randomUUID(), randomUUID()]
    await insert(1, chain, 'FAILED')
    await insert(2, chain, 'WAITING', { parent_id: 1, wait_count: 1 })
    await insert(3, chain, 'WAITING', { parent_id: 2, wait_count: 1 })
    await insert(4, done, 'SUCCESSFUL')
    await insert(5, done, 'SUCCESSFUL')
    await insert(6, done, 'WAITING', { wait_count: 2 })
    await insert(7, ended, 'SUCCESSFUL')
    await migrate({ url })
    const db = new Pool(url, 2)
    t.teardown(() => db.close())
    await advanceAll(db)
    t.strictSame(await statesOf(others, { two: '2', three: '3', callback: '6' }), { two: 'FAILED', three: 'FAILED', callback: 'READY' })
    t.strictSame((await others.query('SELECT workflow_id, total, succeeded, failed FROM reproq_workflows ORDER BY failed DESC')).rows, [
      { workflow_id: chain, total: 3, succeeded: 0, failed: 3 },
      { workflow_id: done, total: 3, succeeded: 2, failed: 0 },
    ], 'what had ended as a whole is left alone')
    t.strictSame(await misplaced(others), [])
  })
}

t.test('edges may be written by hand: rows and what they wait for, in one transaction', async (t) => {
  const { given, session } = await start(t)
  const workflow = randomUUID()
  const client = await given.others.connect()
  await client.query('BEGIN')
  const insert = async (status: string) => {
    const { rows } = await client.query<{ id: string }>(`INSERT INTO task_runs (workflow_id, spec_json, spec_hash, status) VALUES ($1, '{"task_path": "t.hand"}', $2, $3) RETURNING result_id::text AS id`, [workflow, hash(), status])
    return rows[0]?.id as string
  }
  const [one, two, three] = [await insert('READY'), await insert('READY'), await insert('WAITING')]
  await client.query('INSERT INTO reproq_dependencies (child_id, parent_id) VALUES ($1, $2), ($1, $3)', [three, one, two])
  await client.query('COMMIT')
  client.release()
  await settled(t, given)
  t.match(await rowOf(given.others, three), { status: 'WAITING', wait_count: 2 })
  await well(given, await leaseAll(given.db, session))
  await settled(t, given)
  t.match(await rowOf(given.others, three), { status: 'READY' })
})
