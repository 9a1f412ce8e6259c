import t, { type Test } from 'tap'
import { givenDatabase, givenForeignRun, givenSession, misplaced, rowOf, statusOf, type Given } from '../../../test/helpers/given.js'
import { advanceAll, givenWorkflow, leaseAll, misled, node, statesOf } from '../../../test/helpers/given-workflow.js'
import { cancel } from '../runs/cancel.js'
import { finalize } from '../runs/finalize.js'
import type { Leased } from '../runs/lease.js'
import { requeue } from '../runs/requeue.js'
import { succeed } from '../runs/succeed.js'
import { reap, type Session } from '../sessions/sessions.js'
import { advance } from './advance.js'

const well = (given: Given, leased: Leased[]) => succeed(given.db, leased.map((item) => ({ ...item, output: JSON.stringify(item.task) })))
const badly = (given: Given, leased: Leased[], status: 'FAILED' | 'CANCELLED' | 'READY' = 'FAILED') =>
  finalize(given.db, leased.map((item) => ({ ...item, status, error: '{"kind": "app_error"}', lastError: status === 'FAILED' ? 'ValueError: no' : null, delayMs: 0 })))

/** Leases what is ready and ends it: FAILED for the named tasks, SUCCESSFUL for the others. Returns what was leased. */
async function round(t: Test, given: Given, session: Session, failing: string[] = []): Promise<string[]> {
  const leased = await leaseAll(given.db, session)
  const fails = ({ task }: Leased) => failing.includes(task.slice(2))
  await well(given, leased.filter((item) => !fails(item)))
  await badly(given, leased.filter(fails))
  await advanceAll(given.db)
  t.strictSame(await misled(given.others), [])
  t.strictSame(await misplaced(given.others), [])
  return leased.map(({ task }) => task.slice(2)).toSorted()
}

async function countsOf({ others }: Given, id: string) {
  const { rows } = await others.query('SELECT status, total, succeeded, failed, cancelled, skipped FROM reproq_workflows WHERE workflow_id = $1', [id])
  return rows[0] as Record<string, unknown> | undefined
}

t.test('each run starts when all before it have succeeded, and no earlier', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const { id, ids } = await givenWorkflow(given.db, [node('a'), node('b', ['a']), node('c', ['a']), node('d', ['b', 'c']), node('e', ['d'])])
  t.strictSame(await statesOf(given.others, ids), { a: 'READY', b: 'WAITING', c: 'WAITING', d: 'WAITING', e: 'WAITING' })
  t.match(await countsOf(given, id), { status: 'RUNNING', total: 5, succeeded: 0 })
  const rounds = []
  for (let at = 0; at < 5; at++) rounds.push(await round(t, given, session))
  t.strictSame(rounds, [['a'], ['b', 'c'], ['d'], ['e'], []])
  t.strictSame(await countsOf(given, id), { status: 'SUCCESSFUL', total: 5, succeeded: 5, failed: 0, cancelled: 0, skipped: 0 })
  t.equal((await rowOf(given.others, ids.d as string)).wait_count, 0)
})

t.test('a failure fails at once what depends on it, and says which run it began with', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const { id, ids } = await givenWorkflow(given.db, [node('a'), node('slow'), node('b', ['a', 'slow']), node('c', ['b'])])
  const [a, slow] = await leaseAll(given.db, session)
  await badly(given, [a as Leased])
  await advanceAll(given.db)
  t.strictSame(await statesOf(given.others, ids), { a: 'FAILED', slow: 'RUNNING', b: 'FAILED', c: 'FAILED' })
  for (const name of ['b', 'c']) {
    const row = await rowOf(given.others, ids[name] as string)
    t.match(row, { attempts: 0, finished_at: Date, failed_at: Date, errors_json: [{ kind: 'workflow_failed', failed_result_id: Number(ids.a) }] })
    t.equal(row.last_error, `workflow_failed: Run ${ids.a}, which it waited for, failed: ValueError: no`, name)
  }
  t.match(await countsOf(given, id), { status: 'RUNNING', failed: 3 })
  await well(given, [slow as Leased])
  await advanceAll(given.db)
  t.strictSame(await countsOf(given, id), { status: 'FAILED', total: 4, succeeded: 1, failed: 3, cancelled: 0, skipped: 0 })
  t.strictSame(await misled(given.others), [])
})

t.test('always runs whatever came before; failure runs when something failed, and is skipped when nothing did', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const nodes = [node('a'), node('b'), node('c', ['a', 'b']), node('cleanup', ['a', 'b'], 'always'), node('alarm', ['a', 'b', 'c'], 'failure'), node('after-alarm', ['alarm'])]
  const bad = await givenWorkflow(given.db, nodes)
  t.strictSame(await round(t, given, session, ['a']), ['a', 'b'])
  t.strictSame(await statesOf(given.others, bad.ids), { a: 'FAILED', b: 'SUCCESSFUL', c: 'FAILED', cleanup: 'READY', alarm: 'READY', 'after-alarm': 'WAITING' })
  t.strictSame(await round(t, given, session), ['alarm', 'cleanup'])
  t.strictSame(await round(t, given, session), ['after-alarm'])
  t.match(await countsOf(given, bad.id), { status: 'FAILED', succeeded: 4, failed: 2, skipped: 0 })

  const good = await givenWorkflow(given.db, nodes)
  await round(t, given, session)
  t.strictSame(await round(t, given, session), ['c', 'cleanup'])
  t.strictSame(await statesOf(given.others, good.ids), { a: 'SUCCESSFUL', b: 'SUCCESSFUL', c: 'SUCCESSFUL', cleanup: 'SUCCESSFUL', alarm: 'CANCELLED', 'after-alarm': 'CANCELLED' })
  t.match(await rowOf(given.others, good.ids.alarm as string), { errors_json: [{ kind: 'workflow_skipped' }], failed_at: null })
  t.strictSame(await countsOf(given, good.id), { status: 'SUCCESSFUL', total: 6, succeeded: 4, failed: 0, cancelled: 0, skipped: 2 })
})

t.test('a retry is no end: children go on waiting', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const { ids } = await givenWorkflow(given.db, [node('a'), node('b', ['a'])])
  await badly(given, await leaseAll(given.db, session), 'READY')
  await advanceAll(given.db)
  t.equal(await statusOf(given.others, ids.b as string), 'WAITING')
  t.strictSame(await round(t, given, session), ['a'])
  t.strictSame(await round(t, given, session), ['b'])
})

t.test('a cancelled run cancels what needs it; cancelling everything leaves nothing to be released', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const one = await givenWorkflow(given.db, [node('a'), node('b', ['a']), node('c', ['b']), node('d', ['b'], 'always')])
  await cancel(given.db, [one.ids.b as string])
  await advanceAll(given.db)
  t.strictSame(await statesOf(given.others, one.ids), { a: 'READY', b: 'CANCELLED', c: 'CANCELLED', d: 'READY' })
  t.equal((await rowOf(given.others, one.ids.c as string)).last_error, `workflow_failed: Run ${one.ids.b}, which it waited for, was cancelled`)
  t.match(await rowOf(given.others, one.ids.c as string), { failed_at: null, errors_json: [{ kind: 'workflow_failed', failed_result_id: Number(one.ids.b) }] })
  await round(t, given, session)
  t.strictSame(await countsOf(given, one.id), { status: 'CANCELLED', total: 4, succeeded: 2, failed: 0, cancelled: 2, skipped: 0 })

  const all = await givenWorkflow(given.db, [node('a'), node('b', ['a']), node('c', ['b'], 'always')])
  const leased = await leaseAll(given.db, session)
  await cancel(given.db, Object.values(all.ids))
  await badly(given, leased, 'CANCELLED')
  await advanceAll(given.db)
  t.strictSame(await statesOf(given.others, all.ids), { a: 'CANCELLED', b: 'CANCELLED', c: 'CANCELLED' })
  t.strictSame(await misled(given.others), [])
})

t.test('a worker that dies on the last attempt fails what waited for its run', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const { ids } = await givenWorkflow(given.db, [{ ...node('a'), max_attempts: 1 }, node('b', ['a'])])
  await leaseAll(given.db, session)
  await given.others.query(`UPDATE reproq_sessions SET expires_at = now() - interval '1 s'`)
  await reap(given.db)
  await advanceAll(given.db)
  t.strictSame(await statesOf(given.others, ids), { a: 'FAILED', b: 'FAILED' })
  t.match(await rowOf(given.others, ids.b as string), { last_error: /lease_expiry/ })
})

t.test('a run that failed and is tried again reopens what failed because of it', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const { id, ids } = await givenWorkflow(given.db, [node('a'), node('b', ['a']), node('c', ['b']), node('alarm', ['c'], 'failure')])
  await round(t, given, session, ['a'])
  t.strictSame(await round(t, given, session), ['alarm'])
  await given.others.query(`UPDATE task_runs SET status = 'READY', attempts = 0, run_after = now(), finished_at = NULL, failed_at = NULL, last_error = NULL WHERE result_id = $1`, [ids.a])
  await advanceAll(given.db)
  t.strictSame(await statesOf(given.others, ids), { a: 'READY', b: 'WAITING', c: 'WAITING', alarm: 'SUCCESSFUL' }, 'what has run has run')
  t.match(await rowOf(given.others, ids.c as string), { wait_count: 1, finished_at: null, failed_at: null, last_error: null })
  t.strictSame([await round(t, given, session), await round(t, given, session), await round(t, given, session)], [['a'], ['b'], ['c']])
  t.strictSame(await countsOf(given, id), { status: 'SUCCESSFUL', total: 4, succeeded: 4, failed: 0, cancelled: 0, skipped: 0 })
})

t.test('everything tried again at once still runs in order; a child alone is refused its retry, and says why', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const { ids } = await givenWorkflow(given.db, [node('a'), node('b', ['a']), node('c', ['b'])])
  await round(t, given, session, ['a'])
  const retry = (which: string[]) => given.others.query(`UPDATE task_runs SET status = 'READY', attempts = 0, run_after = now(), finished_at = NULL, failed_at = NULL, last_error = NULL WHERE result_id = ANY ($1)`, [which])
  await retry([ids.b as string])
  t.equal(await statusOf(given.others, ids.b as string), 'WAITING', 'nobody can lease it in between')
  t.strictSame(await misplaced(given.others), [])
  t.strictSame(await round(t, given, session), [])
  t.match(await rowOf(given.others, ids.b as string), { status: 'FAILED', last_error: `workflow_failed: Run ${ids.a}, which it waited for, failed: ValueError: no` })

  await retry(Object.values(ids))
  t.strictSame(await statesOf(given.others, ids), { a: 'READY', b: 'WAITING', c: 'WAITING' })
  await advanceAll(given.db)
  t.strictSame([await round(t, given, session), await round(t, given, session), await round(t, given, session), await round(t, given, session)], [['a'], ['b'], ['c'], []])
})

t.test('what somebody cancelled stays cancelled when its parent is tried again', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const byFilter = (ids: string[]) => given.others.query('SELECT reproq_cancel_many($1)', [ids])
  const byOthers = (ids: string[]) => given.others.query(`UPDATE task_runs SET status = 'CANCELLED' WHERE result_id = ANY ($1)`, [ids])
  const cancels: ((ids: string[]) => Promise<unknown>)[] = [(ids) => cancel(given.db, ids), byFilter, byOthers]
  for (const stop of cancels) {
    const { id, ids } = await givenWorkflow(given.db, [node('a'), node('b', ['a']), node('c', ['b']), node('alarm', ['a'], 'failure'), node('after-alarm', ['alarm'])])
    const [a, b, c] = [ids.a as string, ids.b as string, ids.c as string]
    await round(t, given, session, ['a'])
    await requeue(given.db, [a])
    await advanceAll(given.db)
    t.strictSame((await rowOf(given.others, b)).errors_json, [], 'why it had ended does not hold any more')
    await stop([b])
    await round(t, given, session, ['a'])
    await requeue(given.db, [a])
    await advanceAll(given.db)
    t.equal(await statusOf(given.others, b), 'CANCELLED', 'one of its children')

    await requeue(given.db, [b])
    await advanceAll(given.db)
    t.strictSame(await statesOf(given.others, { b, c }), { b: 'WAITING', c: 'WAITING' })
    await stop(Object.values(ids))
    await advanceAll(given.db)
    await requeue(given.db, [a])
    t.strictSame(await round(t, given, session), ['a'], 'all of the workflow')
    t.strictSame(await statesOf(given.others, { a, b, c }), { a: 'SUCCESSFUL', b: 'CANCELLED', c: 'CANCELLED' })
    t.match(await countsOf(given, id), { status: 'CANCELLED' })
  }
})

t.test('what was not needed, was tried again all the same and then cancelled, counts as cancelled', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const { id, ids } = await givenWorkflow(given.db, [node('a'), node('alarm', ['a'], 'failure')])
  await round(t, given, session)
  t.match(await countsOf(given, id), { status: 'SUCCESSFUL', skipped: 1 })
  await requeue(given.db, [ids.alarm as string])
  await cancel(given.db, [ids.alarm as string])
  await advanceAll(given.db)
  t.match(await countsOf(given, id), { status: 'CANCELLED', skipped: 0, cancelled: 1 })
  t.strictSame([await misled(given.others), await misplaced(given.others)], [[], []])
})

t.test('a run whose row somebody holds comes with a later step; the others do not wait for it', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const [one, two] = [await givenWorkflow(given.db, [node('a'), node('b', ['a'])]), await givenWorkflow(given.db, [node('a'), node('b', ['a'])])]
  const client = await given.others.connect()
  await client.query('BEGIN')
  await client.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [one.ids.b])
  await well(given, await leaseAll(given.db, session))
  t.match(await advance(given.db, 10), { busy: false, taken: 1, postponed: 1, runs: [{ run: two.ids.b, status: 'READY', queue: 'default', task: 't.b' }] })
  t.match(await advance(given.db, 10), { taken: 0, postponed: 1, runs: [] })
  await client.query('COMMIT')
  client.release()
  t.match(await advance(given.db, 10), { taken: 1, postponed: 0, runs: [{ run: one.ids.b, status: 'READY' }] })
  t.strictSame(await misled(given.others), [])
})

t.test('a held run with more parents than a step takes notes keeps nobody else waiting', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const members = ['a', 'b', 'c', 'd', 'e']
  const wide = await givenWorkflow(given.db, [...members.map((name) => node(name)), node('sum', members)])
  await well(given, await leaseAll(given.db, session))
  const other = await givenWorkflow(given.db, [node('a'), node('b', ['a'])])
  await well(given, await leaseAll(given.db, session))
  const client = await given.others.connect()
  await client.query('BEGIN')
  await client.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [wide.ids.sum])
  t.match(await advance(given.db, 2), { taken: 1, postponed: 5, runs: [{ run: other.ids.b, status: 'READY' }] })
  t.match(await advance(given.db, 2), { taken: 0, postponed: 5, runs: [] })
  await client.query('COMMIT')
  client.release()
  await advanceAll(given.db)
  t.equal(await statusOf(given.others, wide.ids.sum as string), 'READY')
  t.strictSame(await misled(given.others), [])
})

t.test('a parent that is deleted before it has ended fails its children; one deleted afterwards has ended all the same', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const { id, ids } = await givenWorkflow(given.db, [node('a'), node('b'), node('c', ['b']), node('d', ['a', 'c'], 'always'), node('e', ['a'])])
  await well(given, (await leaseAll(given.db, session)).filter(({ task }) => task === 't.a'))
  await advanceAll(given.db)
  await given.others.query('DELETE FROM task_runs WHERE result_id = ANY ($1)', [[ids.a, ids.b]])
  await advanceAll(given.db)
  t.strictSame(await statesOf(given.others, ids), { a: 'GONE', b: 'GONE', c: 'FAILED', d: 'READY', e: 'READY' })
  t.match(await rowOf(given.others, ids.c as string), { last_error: `workflow_failed: Run ${ids.b}, which it waited for, was deleted before it had ended` })
  await well(given, await leaseAll(given.db, session))
  await advanceAll(given.db)
  t.strictSame(await countsOf(given, id), { status: 'FAILED', total: 5, succeeded: 3, failed: 1, cancelled: 1, skipped: 0 })
  await given.others.query('DELETE FROM task_runs')
  await advanceAll(given.db)
  for (const table of ['reproq_workflows', 'reproq_dependencies', 'reproq_workflow_changes']) t.strictSame((await given.others.query(`SELECT * FROM ${table}`)).rows, [], table)
})

t.test('runs outside of workflows leave no notes', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  await givenForeignRun(given.others)
  await well(given, await leaseAll(given.db, session))
  await given.others.query(`UPDATE task_runs SET status = 'READY'`)
  await given.others.query('DELETE FROM task_runs')
  t.equal((await given.others.query('SELECT max(seq) FROM reproq_workflow_changes')).rows[0].max, null)
})
