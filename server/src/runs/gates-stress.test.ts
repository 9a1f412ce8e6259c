import t, { type Test } from 'tap'
import { givenDatabase, givenForeignRun, givenSession, misplaced, type Given } from '../../../test/helpers/given.js'
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
const WORK_MS = 4_000
const QUEUES = ['default', 'other']

interface Counts {
  checks: number
  violations: number
  leases: number
  settled: number
}

/** Brokers at work on one database, each with connections and sessions of its own, doing anything at any time. */
async function atWork(t: Test, given: Given, columnsOf: () => Record<string, unknown>, violationsSql: string): Promise<Counts> {
  const { others, url } = given
  const counts: Counts = { checks: 0, violations: 0, leases: 0, settled: 0 }
  const until = performance.now() + WORK_MS
  const made: string[] = []
  const make = async () => made.push(await givenForeignRun(others, { queue_name: QUEUES[pick(2)], ...columnsOf() }))
  const check = async () => {
    const { rows } = await others.query<{ checks: number; violations: number }>(violationsSql)
    counts.checks += rows[0]?.checks ?? 0
    counts.violations += rows[0]?.violations ?? 0
  }
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
        counts.leases += runs.length
        held.push(...runs)
        await check()
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
      async () => pick(10) === 0 && others.query(`INSERT INTO reproq_queue_controls VALUES ('other', true) ON CONFLICT (queue_name) DO UPDATE SET paused = NOT reproq_queue_controls.paused`),
      make,
      make,
      make,
    ]
    while (performance.now() < until) await (actions[pick(actions.length)] as () => Promise<unknown>)().catch(againLater)
  }
  for (let count = 0; count < 100; count++) await make()
  await Promise.all(Array.from({ length: BROKERS * 2 }, (_, at) => broker(`broker-${at % BROKERS}`)))
  return counts
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

async function isClean(t: Test, given: Given, counts: Counts): Promise<void> {
  const { others } = given
  t.comment(JSON.stringify(counts))
  t.equal(counts.violations, 0, 'violations')
  t.ok(counts.checks > 1_000 && counts.leases > 300, `${counts.checks} checks of ${counts.leases} leases`)
  await finish(given)
  t.strictSame((await others.query(`SELECT status, count(*) FROM task_runs WHERE status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') GROUP BY status`)).rows, [], 'everything came to its turn')
  const wrong = (await misplaced(others)) as { status: string; key: string | null }[]
  // A cancel that waited for the statement that moved its run cannot see where to; the next who meets the entry drops it.
  t.strictSame(wrong.filter(({ status }) => status !== 'CANCELLED'), [])
  t.strictSame((await others.query('SELECT key FROM reproq_holds')).rows, [])
}

t.test('of runs with one lock key one runs at a time, whatever several brokers do at once', async (t) => {
  const given = await givenDatabase(t)
  const counts = await atWork(t, given, () => ({ lock_key: pick(10) === 0 ? null : `lock-${pick(6)}` }), `
    SELECT count(*)::int AS checks, count(*) FILTER (WHERE running > 1)::int AS violations
      FROM (SELECT lock_key, count(*) AS running FROM task_runs WHERE status = 'RUNNING' AND lock_key IS NOT NULL GROUP BY lock_key) AS by_key`)
  await isClean(t, given, counts)
})

t.test('of runs with one concurrency key so many run at a time as their limits say, also of a foreign worker’s', async (t) => {
  const given = await givenDatabase(t)
  // Every key has one limit but the last, where limits differ: there never more than the largest of those that run.
  const columns = () => {
    const key = pick(5)
    return { concurrency_key: `key-${key}`, concurrency_limit: key === 4 ? 1 + pick(3) : 1 + key, lock_key: pick(4) === 0 ? `lock-${pick(3)}` : null }
  }
  const counts = await atWork(t, given, columns, `
    SELECT count(*)::int AS checks, count(*) FILTER (WHERE running > most)::int AS violations
      FROM (SELECT concurrency_key AS key, count(*) AS running, max(concurrency_limit) AS most FROM task_runs WHERE status = 'RUNNING' GROUP BY concurrency_key
            UNION ALL
            SELECT lock_key, count(*), 1 FROM task_runs WHERE status = 'RUNNING' AND lock_key IS NOT NULL GROUP BY lock_key) AS by_key`)
  await isClean(t, given, counts)
})
