import type pg from 'pg'
import type { Test } from 'tap'
import { Pool } from '../../server/src/db/pool.js'
import { enqueue } from '../../server/src/runs/enqueue.js'
import { lease, type Leased } from '../../server/src/runs/lease.js'
import type { Control } from '../../server/src/runs/control.js'
import type { NewRun } from '../../server/src/runs/spec.js'
import { open, type Session } from '../../server/src/sessions/sessions.js'
import { testDatabase } from './database.js'

/** A migrated database, as the broker reaches it (`db`), and as everybody else does, through the triggers (`others`). */
export interface Given {
  db: Pool
  others: pg.Pool
  url: string
}

export async function givenDatabase(t: Test): Promise<Given> {
  const { url, pool } = await testDatabase(t)
  const db = new Pool(url, 8)
  t.teardown(() => db.close())
  return { db, others: pool, url }
}

export function newRunOf(run: Partial<NewRun> = {}): NewRun {
  return { task: 't.task', queue: 'default', priority: 0, spec: '{"args": [], "kwargs": {}}', specHash: 'hash', runAfterMs: null, maxAttempts: 3, timeoutSeconds: 900, idempotencyKey: null, control: null, ...run }
}

export function controlFor(control: Partial<Control>): Control {
  return { deduplicate: false, lockKey: null, concurrencyKey: null, concurrencyLimit: 0, rateKey: null, ratePerSecond: null, rateBurst: null, fairKey: null, expiresAtMs: null, expiresInMs: null, retry: null, ...control }
}

/** READY runs, one for each description. Returns their ids. */
export async function givenRuns(db: Pool, ...runs: Partial<NewRun>[]): Promise<string[]> {
  return (await enqueue(db, runs.map(newRunOf))).map(({ id }) => id)
}

export async function givenSession(db: Pool, workerId = 'worker', leaseMs = 60_000): Promise<Session & { key: string }> {
  return open(db, { workerId, host: null, concurrency: 1, queues: ['default'], version: 'test' }, 'broker', leaseMs)
}

/** Makes a run and leases it to the session. */
export async function givenLeased(db: Pool, session: Session, run: Partial<NewRun> = {}): Promise<Leased> {
  const [id] = await givenRuns(db, { queue: `of-${session.workerId}`, ...run })
  const { runs } = await lease(db, [run.queue ?? `of-${session.workerId}`], [session], 60_000)
  const [leased] = runs
  if (leased?.run !== id) throw new Error('another run was leased than the one just made')
  return leased as Leased
}

/** A row as Django writes it: every column it knows, none of ours. Returns its id. */
export async function givenForeignRun(others: pg.Pool, columns: Record<string, unknown> = {}): Promise<string> {
  const row = { backend_alias: 'default', queue_name: 'default', priority: 0, spec_json: '{"task_path": "app.task", "args": [], "kwargs": {}}', spec_hash: 'x', status: 'READY', enqueued_at: new Date(), ...columns }
  const names = Object.keys(row)
  const { rows } = await others.query<{ id: string }>(
    `INSERT INTO task_runs (${names.join(', ')}) VALUES (${names.map((_, at) => `$${at + 1}`).join(', ')}) RETURNING result_id::text AS id`,
    Object.values(row),
  )
  return (rows[0] as { id: string }).id
}

/** The row, with JSON columns parsed. */
export async function rowOf(others: pg.Pool, id: string): Promise<Record<string, unknown>> {
  const { rows } = await others.query<Record<string, unknown>>('SELECT * FROM task_runs WHERE result_id = $1', [id])
  if (!rows[0]) throw new Error(`there is no run ${id}`)
  return rows[0]
}

export async function statusOf(others: pg.Pool, id: string): Promise<unknown> {
  return (await rowOf(others, id)).status
}

/** Which narrow tables have the run. */
export async function placesOf(others: pg.Pool, id: string): Promise<string[]> {
  const { rows } = await others.query<{ place: string }>(
    `SELECT 'ready' AS place FROM reproq_ready WHERE result_id = $1 UNION ALL SELECT 'scheduled' FROM reproq_scheduled WHERE result_id = $1
     UNION ALL SELECT 'blocked' FROM reproq_blocked WHERE result_id = $1 UNION ALL SELECT 'leased' FROM reproq_leases WHERE result_id = $1`,
    [id],
  )
  return rows.map(({ place }) => place)
}

/**
 * Runs whose narrow tables do not say what their row says: READY is in exactly one of ready, scheduled and blocked, under its
 * own key; what waits and expires is in expiring; what is RUNNING is under one of our leases or somebody else's, and holds its keys; everything else is nowhere.
 */
export async function misplaced(others: pg.Pool): Promise<unknown[]> {
  const { rows } = await others.query(`
    SELECT coalesce(t.result_id, r.result_id, s.result_id, b.result_id, l.result_id, f.result_id, h.result_id)::text AS run, t.status, r.claim_key, s.run_after, b.key, l.session_id, h.keys
      FROM task_runs t
      FULL JOIN reproq_ready r ON r.result_id = t.result_id
      FULL JOIN reproq_scheduled s ON s.result_id = t.result_id
      FULL JOIN reproq_blocked b ON b.result_id = t.result_id
      FULL JOIN reproq_leases l ON l.result_id = t.result_id
      FULL JOIN reproq_foreign_leases f ON f.result_id = t.result_id
      FULL JOIN (SELECT result_id, array_agg(key ORDER BY key) AS keys FROM reproq_holds GROUP BY result_id) h ON h.result_id = t.result_id
     WHERE t.result_id IS NULL
        OR num_nonnulls(r.result_id, s.result_id, b.result_id) <> (t.status = 'READY')::int
        OR (r.queue_name, r.claim_key) <> (t.queue_name, reproq_claim_key(t.priority, t.enqueued_at, t.reproq_fair_at))
        OR (b.queue_name, b.claim_key) <> (t.queue_name, reproq_claim_key(t.priority, t.enqueued_at, t.reproq_fair_at))
        OR r.gated <> reproq_is_gated(t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.expires_at)
        OR coalesce(h.keys, '{}') <> CASE WHEN t.status = 'RUNNING' THEN ARRAY(SELECT k FROM unnest(reproq_keys(t.lock_key, t.concurrency_key, t.concurrency_limit)) k ORDER BY k COLLATE "C") ELSE '{}' END
        OR s.run_after <> t.run_after
        OR (t.status IN ('WAITING', 'READY') AND isfinite(t.expires_at) AND NOT EXISTS (SELECT FROM reproq_expiring e WHERE (e.expires_at, e.result_id) = (t.expires_at, t.result_id)))
        OR (l.result_id IS NOT NULL) <> (t.status = 'RUNNING' AND t.reproq_lease_id IS NOT NULL)
        OR (f.result_id IS NOT NULL) <> (t.status = 'RUNNING' AND t.reproq_lease_id IS NULL)`)
  return rows
}
