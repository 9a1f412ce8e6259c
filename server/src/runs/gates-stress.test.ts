import t, { type Test } from 'tap'
import { givenDatabase, givenForeignRun, givenSession, misplaced, type Given } from '../../../test/helpers/given.js'
import { auditKeys, keyViolations } from '../../../test/helpers/key-audit.js'
import { Pool } from '../db/pool.js'
import { BrokerError } from '../errors.js'
import type { Session } from '../sessions/sessions.js'
import { reap } from '../sessions/sessions.js'
import { cancel } from './cancel.js'
import { finalize } from './finalize.js'
import { lease, leaseGated, type Leased } from './lease.js'
import { promote } from './promote.js'
import { release } from './release.js'
import { succeed } from './succeed.js'
import { unblock } from './unblock.js'

const BROKERS = 4
/** They go on until so many runs were leased one by one, and no longer than this. */
const LEASES = 1_200
const MOST_MS = 40_000
const QUEUES = ['default', 'other']

/** Brokers at work on one database, each with connections and sessions of its own, doing anything at any time. */
async function atWork(t: Test, given: Given, columnsOf: () => Record<string, unknown>): Promise<void> {
  const { others, url } = given
  await auditKeys(others)
  const end = performance.now() + MOST_MS
  let leases = 0
  const made: string[] = []
  const make = async () => made.push(await givenForeignRun(others, { queue_name: QUEUES[pick(2)], ...columnsOf() }))
  const broker = async (name: string) => {
    const db = new Pool(url, 3)
    t.teardown(() => db.close())
    let session: Session = await givenSession(db, name)
    const held: Leased[] = []
    const drop = (most: number) => held.splice(0, 1 + pick(most))
    const actions: (() => Promise<unknown>)[] = [
      async () => {
        const { gated, runs } = await lease(db, QUEUES, Array.from({ length: 1 + pick(8) }, () => session), 60_000)
        if (!gated) return held.push(...runs)
        return actions[1]?.()
      },
      async () => {
        const { runs } = await leaseGated(db, QUEUES, Array.from({ length: 1 + pick(8) }, () => session), 60_000, 40)
        leases += runs.length
        held.push(...runs)
      },
      async () => succeed(db, drop(6).map((run) => ({ ...run, output: '1' }))),
      async () => succeed(db, drop(6).map((run) => ({ ...run, output: '1' }))),
      async () => finalize(db, drop(3).map((run) => ({ ...run, status: 'READY' as const, error: '{}', lastError: null, delayMs: pick(2) }))),
      async () => release(db, drop(3).map((run) => ({ ...run, delayMs: pick(2) }))),
      async () => unblock(db),
      async () => cancel(db, [made[pick(made.length)] as string]),
      async () => promote(db),
      // A worker dies: its session ends at once, and what it held is anybody's.
      async () => {
        if (pick(10) > 0) return
        await others.query('UPDATE reproq_sessions SET expires_at = now() WHERE session_id = $1', [session.sessionId])
        held.length = 0
        session = await givenSession(db, `${name}+`)
        await reap(db)
      },
      async () => others.query('UPDATE task_runs SET priority = $2 WHERE result_id = $1', [made[pick(made.length)], pick(9)]),
      async () => others.query('UPDATE task_runs SET queue_name = $2 WHERE result_id = $1', [made[pick(made.length)], QUEUES[pick(2)]]),
      // The Go worker's reclaim, and Admin.
      async () => others.query(`UPDATE task_runs SET status = 'READY', leased_by = NULL WHERE result_id = $1 AND status = 'RUNNING'`, [made[pick(made.length)]]),
      async () => others.query(`UPDATE task_runs SET status = 'CANCELLED' WHERE result_id = $1 AND status = 'READY'`, [made[pick(made.length)]]),
      async () => others.query('DELETE FROM task_runs WHERE result_id = $1', [made[pick(made.length)]]),
      async () => pick(10) === 0 && others.query(`INSERT INTO reproq_queue_controls VALUES ('other', true) ON CONFLICT (queue_name) DO UPDATE SET paused = NOT reproq_queue_controls.paused`),
      make,
      make,
      make,
    ]
    while (leases < LEASES && performance.now() < end) await (actions[pick(actions.length)] as () => Promise<unknown>)().catch(againLater)
  }
  for (let count = 0; count < 100; count++) await make()
  await Promise.all(Array.from({ length: BROKERS * 2 }, (_, at) => broker(`broker-${at % BROKERS}`)))
}

/** Everything that still waits is run to its end, one turn after the other; with a wake that was lost, something would be left. */
async function finish({ db, others }: Given): Promise<void> {
  await others.query(`DELETE FROM reproq_queue_controls; UPDATE reproq_sessions SET expires_at = now(); UPDATE task_runs SET run_after = NULL WHERE run_after > now()`)
  while ((await reap(db)).length > 0);
  while ((await promote(db)).more);
  const session = await givenSession(db, 'last')
  for (let idle = 0; idle < 3; ) {
    while ((await unblock(db)).more);
    const { runs } = await leaseGated(db, QUEUES, Array.from({ length: 200 }, () => session), 60_000)
    if (runs.length > 0) await succeed(db, runs.map((run) => ({ ...run, output: '1' })))
    idle = runs.length > 0 ? 0 : idle + 1
  }
}

/** A deadlock or a lock that was not had in time is a statement that did nothing. */
function againLater(error: unknown): void {
  if (error instanceof BrokerError && error.code === 'DATABASE_UNAVAILABLE') return
  if ((error as { code?: string }).code === '40P01') return
  throw error
}

const pick = (below: number) => Math.floor(Math.random() * below)

async function isClean(t: Test, given: Given): Promise<void> {
  const { others } = given
  await finish(given)
  t.strictSame((await others.query(`SELECT status, count(*) FROM task_runs WHERE status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') GROUP BY status`)).rows, [], 'everything came to its turn')
  const wrong = (await misplaced(others)) as { status: string; key: string | null }[]
  // A cancel that waited for the statement that moved its run cannot see where to; the next who meets the entry drops it.
  t.strictSame(wrong.filter(({ status }) => status !== 'CANCELLED'), [])
  t.strictSame((await others.query('SELECT key FROM reproq_holds')).rows, [])
  const { checks, violations } = await keyViolations(others)
  t.comment(`${checks} starts checked, ${violations.length} violations`)
  t.strictSame(violations.slice(0, 10), [])
  t.ok(checks >= 1_000, `${checks} starts checked`)
}

t.test('of runs with one lock key one runs at a time, whatever several brokers do at once', async (t) => {
  const given = await givenDatabase(t)
  await atWork(t, given, () => ({ lock_key: pick(10) === 0 ? null : `lock-${pick(6)}` }))
  await isClean(t, given)
})

t.test('a run starts only while fewer than its own limit run under its concurrency key, also where it has a lock key too', async (t) => {
  const given = await givenDatabase(t)
  // Every key has one limit but the last, where each run has its own.
  const columns = () => {
    const key = pick(5)
    return { concurrency_key: `key-${key}`, concurrency_limit: key === 4 ? 1 + pick(3) : 1 + key, lock_key: pick(4) === 0 ? `lock-${pick(3)}` : null }
  }
  await atWork(t, given, columns)
  await isClean(t, given)
})
