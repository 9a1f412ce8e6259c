import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { WorkflowNode } from '../../../protocol/src/index.js'
import { choices } from '../../../test/helpers/choices.js'
import { givenDatabase, givenForeignRun, givenSession, misplaced } from '../../../test/helpers/given.js'
import { advanceAll, givenWorkflow, leaseAll, misled, node } from '../../../test/helpers/given-workflow.js'
import { Pool } from '../db/pool.js'
import { BrokerError } from '../errors.js'
import { cancel } from '../runs/cancel.js'
import { finalize } from '../runs/finalize.js'
import type { Leased } from '../runs/lease.js'
import { succeed } from '../runs/succeed.js'
import { reap } from '../sessions/sessions.js'
import { advance } from './advance.js'

const ROUNDS = 60
const AT_ONCE = 12

/**
 * Watches from inside the database. Of every run that starts: what needs success has it from each parent now; what runs whatever
 * came before has each parent ended at some time. `watched` counts those that had any.
 */
const WATCH = `
  CREATE TABLE watch_ended (id bigint PRIMARY KEY);
  CREATE TABLE watch_started (id bigint, parents int, early int);
  CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF NEW.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') THEN INSERT INTO watch_ended VALUES (NEW.result_id) ON CONFLICT DO NOTHING; END IF;
    IF NEW.status = 'RUNNING' THEN
      INSERT INTO watch_started SELECT NEW.result_id, count(*), count(*) FILTER (WHERE
          CASE WHEN NEW.reproq_when IS NULL THEN p.status <> 'SUCCESSFUL' ELSE NOT EXISTS (SELECT FROM watch_ended e WHERE e.id = p.result_id) END)
        FROM reproq_dependencies d JOIN task_runs p ON p.result_id = d.parent_id WHERE d.child_id = NEW.result_id;
    END IF;
    RETURN NULL;
  END $$;
  CREATE TRIGGER watch AFTER UPDATE ON task_runs FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION watch()`

t.test('several brokers, random graphs, failures, cancels, lost workers, retries, foreign writers: nothing starts early, nothing waits for ever, everything is counted once', async (t) => {
  const { db, others, url } = await givenDatabase(t)
  await others.query(WATCH)
  const seed = Number(process.env.REPROQ_TEST_SEED ?? Date.now() % 1e9)
  t.comment(`seed ${seed}`)
  const pick = choices(seed)
  const brokers = [db, ...Array.from({ length: 2 }, () => new Pool(url, 4))]
  t.teardown(() => Promise.all(brokers.slice(1).map((pool) => pool.close())))
  const sessions = await Promise.all(['a', 'b', 'c'].map((name) => givenSession(db, name)))
  const runs: string[] = []
  const workflows: string[][] = []
  const leases: Leased[] = []
  const trouble: string[] = []
  let steps = 0

  const any = <T>(list: T[]) => list[pick(list.length)] as T
  const some = <T>(list: T[], most: number) => [...new Set(Array.from({ length: Math.min(list.length, pick(most) + 1) }, () => any(list)))]
  const broker = () => any(brokers)
  const graph = (): WorkflowNode[] =>
    Array.from({ length: 2 + pick(8) }, (_, at) => {
      const parents = Array.from({ length: at }, (_, before) => `n${before}`).filter(() => pick(3) === 0)
      return { ...node(`n${at}`, parents, parents.length === 0 ? undefined : ([undefined, undefined, undefined, 'always', 'failure'] as const)[pick(5)]), max_attempts: 1 + pick(3) }
    })
  const made = async (nodes: WorkflowNode[]) => {
    const { ids } = await givenWorkflow(broker(), nodes)
    workflows.push(Object.values(ids))
    runs.push(...Object.values(ids))
  }
  const taken = () => leases.splice(pick(Math.max(1, leases.length - 5)), 1 + pick(8))
  const foreign = (columns: Record<string, unknown>) => givenForeignRun(others, { spec_hash: randomUUID().replaceAll('-', ''), errors_json: '[]', ...columns })

  const actions: (() => Promise<unknown>)[] = [
    () => made(graph()),
    () => made(graph()),
    () => made([...Array.from({ length: 20 }, (_, at) => node(`m${at}`)), node('callback', Array.from({ length: 20 }, (_, at) => `m${at}`))]),
    () => made(Array.from({ length: 8 }, (_, at) => node(`c${at}`, at === 0 ? [] : [`c${at - 1}`]))),
    async () => {
      // A chain as Django writes it, row by row.
      const workflow = randomUUID()
      let before: string | undefined
      for (let at = 0; at < 4; at++) {
        before = await foreign({ workflow_id: workflow, ...(before === undefined ? { status: 'READY' } : { status: 'WAITING', parent_id: before, wait_count: 1 }) })
        runs.push(before)
      }
    },
    async () => {
      const workflow = randomUUID()
      const members: string[] = []
      for (let at = 0; at < 4; at++) members.push(await foreign({ workflow_id: workflow, status: 'READY' }))
      const last = await foreign({ workflow_id: workflow, status: 'WAITING', wait_count: 4 })
      await others.query(`INSERT INTO workflow_runs (workflow_id, expected_count, callback_result_id, status) VALUES ($1, 4, $2, 'RUNNING')`, [workflow, last])
      runs.push(...members, last)
    },
    async () => leases.push(...(await leaseAll(broker(), any(sessions.slice(-3)), 20))),
    async () => leases.push(...(await leaseAll(broker(), any(sessions.slice(-3)), 20))),
    async () => leases.push(...(await leaseAll(broker(), any(sessions.slice(-3)), 5))),
    () => succeed(broker(), taken().map((item) => ({ ...item, output: item.run }))),
    () => succeed(broker(), taken().map((item) => ({ ...item, output: item.run })).toReversed()),
    () => succeed(broker(), taken().map((item) => ({ ...item, output: item.run }))),
    () => finalize(broker(), taken().map((item) => ({ ...item, status: (['FAILED', 'READY', 'CANCELLED'] as const)[pick(3)] ?? 'FAILED', error: '{}', lastError: 'E: no', delayMs: 0 }))),
    () => cancel(broker(), some(runs, 2)),
    async () => pick(4) === 0 && workflows.length > 0 && cancel(broker(), any(workflows)),
    () => reap(broker()),
    // Triage, of one and of many at once.
    () => others.query(`UPDATE task_runs SET status = 'READY', attempts = 0, run_after = now(), finished_at = NULL, failed_at = NULL, last_error = NULL WHERE result_id = ANY ($1) AND status = 'FAILED'`, [some(runs, 6)]),
    () => others.query(`UPDATE task_runs SET status = 'SUCCESSFUL', return_json = '1', finished_at = now() WHERE result_id = ANY ($1) AND status = 'RUNNING'`, [some(runs, 3)]),
    () => others.query(`UPDATE task_runs SET priority = $2 WHERE result_id = ANY ($1) AND status <> 'RUNNING'`, [some(runs, 3), pick(9)]),
    async () => {
      // Somebody holds rows for a while.
      const client = await others.connect()
      await client.query('BEGIN')
      await client.query('SELECT FROM task_runs WHERE result_id = ANY ($1) ORDER BY result_id FOR UPDATE SKIP LOCKED', [some(runs, 5)])
      await client.query(`SELECT pg_sleep(0.02)`)
      await client.query('COMMIT')
      client.release()
    },
    async () => (steps += (await advance(broker(), 1 + pick(50))).taken),
    async () => (steps += (await advance(broker(), 1_000)).taken),
    async () => (steps += (await advance(broker(), 1_000)).taken),
  ]
  for (let round = 0; round < ROUNDS; round++) {
    if (round % 15 === 14) await others.query(`UPDATE reproq_sessions SET expires_at = now() WHERE session_id = (SELECT min(session_id) FROM reproq_sessions)`)
    while (sessions.length < 3 + Math.floor((round + 1) / 15)) sessions.push(await givenSession(db, `again-${round}`))
    const results = await Promise.allSettled(Array.from({ length: AT_ONCE }, () => any(actions)()))
    for (const result of results) {
      if (result.status === 'fulfilled') continue
      const { reason } = result as { reason: unknown }
      const isPassing = (reason instanceof BrokerError && reason.code === 'DATABASE_UNAVAILABLE') || (reason as { code?: string }).code === '40P01'
      if (!isPassing) throw reason
      trouble.push((reason as Error).message)
    }
  }
  await advanceAll(db)
  t.strictSame(await misled(others), [], 'whatever waits has something to wait for, and everything is counted once')
  t.strictSame(await misplaced(others), [])

  // Everything is let run to its end.
  await others.query(`UPDATE reproq_sessions SET expires_at = now()`)
  await reap(db)
  const last = await givenSession(db, 'last')
  for (;;) {
    await others.query(`UPDATE reproq_scheduled SET run_after = now()`)
    await advanceAll(db)
    const leased = await leaseAll(db, last)
    if (leased.length === 0) break
    const isBad = () => pick(6) === 0
    const bad = leased.filter(isBad)
    await finalize(db, bad.map((item) => ({ ...item, status: 'FAILED', error: '{}', lastError: 'E: no', delayMs: 0 })))
    await succeed(db, leased.filter((item) => !bad.includes(item)).map((item) => ({ ...item, output: item.run })))
  }
  const { rows: left } = await others.query(`SELECT status, count(*)::int FROM task_runs WHERE status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') GROUP BY 1`)
  t.strictSame(left, [], 'nothing waits for ever')
  t.strictSame(await misled(others), [])
  t.strictSame(await misplaced(others), [])
  const { rows: chords } = await others.query(`
    SELECT r.* FROM workflow_runs r
     CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE status = 'SUCCESSFUL') AS well, count(*) FILTER (WHERE status IN ('FAILED', 'CANCELLED')) AS badly FROM task_runs t WHERE t.workflow_id = r.workflow_id AND t.result_id <> r.callback_result_id) m
     WHERE (r.success_count, r.failure_count) <> (m.well, m.badly) OR r.status NOT IN ('SUCCESSFUL', 'FAILED')`)
  t.strictSame(chords, [], 'and chords are counted as Reproq counts them')
  const { rows: watched } = await others.query<{ started: number; early: number }>('SELECT count(*)::int AS started, sum(early)::int AS early FROM watch_started WHERE parents > 0')
  t.comment(`${runs.length} runs, ${watched[0]?.started} starts of runs with parents, ${steps} notes, ${trouble.length} statements to be sent again: ${[...new Set(trouble)].join('; ')}`)
  t.equal(watched[0]?.early, 0, 'nothing started before what it waits for had ended')
  t.ok((watched[0]?.started ?? 0) > 100, 'and much did happen')
})
