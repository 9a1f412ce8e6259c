import t from 'tap'
import { choices } from '../../../test/helpers/choices.js'
import { givenDatabase, givenForeignRun, givenRuns, givenSession, misplaced } from '../../../test/helpers/given.js'
import { BrokerError } from '../errors.js'
import { reap, reconcile } from '../sessions/sessions.js'
import { cancel } from './cancel.js'
import { finalize, type Finalization } from './finalize.js'
import { lease, type Leased } from './lease.js'
import { promote } from './promote.js'
import { release } from './release.js'
import { succeed } from './succeed.js'

const ROUNDS = 40
const AT_ONCE = 10

t.test('whatever happens at once: each run is settled once, and the narrow tables stay in step', async (t) => {
  const { db, others } = await givenDatabase(t)
  const seed = Number(process.env.REPROQ_TEST_SEED ?? Date.now() % 1e9)
  t.comment(`seed ${seed}`)
  const pick = choices(seed)
  const sessions = await Promise.all(['a', 'b', 'c'].map((name) => givenSession(db, name)))
  const runs: string[] = []
  const leases: Leased[] = []
  const settled: string[] = []
  const later: string[] = []

  const some = <T>(list: T[], most: number) => Array.from({ length: Math.min(list.length, pick(most) + 1) }, () => list[pick(list.length)] as T)
  const anySession = () => sessions.at(-1 - pick(3)) as (typeof sessions)[number]
  const verdict = ({ run, lease: id }: Leased): Finalization => {
    const status = (['CANCELLED', 'FAILED', 'READY'] as const)[pick(3)] ?? 'READY'
    return { run, lease: id, status, error: '{}', lastError: null, delayMs: pick(2) }
  }
  const distinct = (list: Leased[]) => [...new Map(list.map((item) => [item.lease, item])).values()]
  const note = (rows: { run: string; status: string }[]) => settled.push(...rows.filter(({ status }) => status !== 'READY' && status !== 'RUNNING').map(({ run }) => run))

  const actions: (() => Promise<unknown>)[] = [
    async () => runs.push(...(await givenRuns(db, {}, { runAfterMs: Date.now() + 5 }, { priority: pick(5) }))),
    async () => runs.push(await givenForeignRun(others)),
    async () => leases.push(...(await lease(db, ['default'], Array.from({ length: 6 }, anySession), 60_000)).runs),
    async () => leases.push(...(await lease(db, ['default'], Array.from({ length: 3 }, anySession), 60_000)).runs),
    async () => note(await finalize(db, distinct(some(leases, 8)).map(verdict))),
    async () => note(await finalize(db, distinct(some(leases, 8)).map(verdict).toReversed())),
    async () => {
      const well = distinct(some(leases, 8)).map((item) => ({ ...item, output: '1' }))
      const { held } = await succeed(db, well)
      note(well.filter((_, at) => held[at]).map(({ run }) => ({ run, status: 'SUCCESSFUL' })))
    },
    async () => note(await release(db, distinct(some(leases, 4)).map(({ run, lease: id }) => ({ run, lease: id, delayMs: pick(2) })))),
    async () => note((await cancel(db, [...new Set(some(runs, 4))])).filter(({ was, status }) => was !== status)),
    async () => promote(db, 5),
    async () => reconcile(db, anySession().sessionId, some(leases, 5)),
    async () => note((await reap(db)).flatMap(({ run, status }) => (run && status ? [{ run, status }] : []))),
    async () => others.query(`UPDATE task_runs SET priority = $2 WHERE result_id = $1`, [runs[pick(runs.length)] ?? 0, pick(9)]),
  ]
  for (let round = 0; round < ROUNDS; round++) {
    if (round % 10 === 9) await others.query(`UPDATE reproq_sessions SET expires_at = now() WHERE session_id = (SELECT min(session_id) FROM reproq_sessions)`)
    while (sessions.length < 3 + Math.floor((round + 1) / 10)) sessions.push(await givenSession(db, `again-${round}`))
    const results = await Promise.allSettled(Array.from({ length: AT_ONCE }, () => (actions[pick(actions.length)] as () => Promise<unknown>)()))
    for (const result of results) {
      if (result.status === 'fulfilled') continue
      // A deadlock is a statement that did nothing and may be sent again; the callers do.
      const { reason } = result as { reason: unknown }
      if (reason instanceof BrokerError && reason.code === 'DATABASE_UNAVAILABLE') later.push(reason.message)
      else if ((reason as { code?: string }).code === '40P01') later.push('foreign')
      else throw reason
    }
  }
  t.comment(`${runs.length} runs, ${leases.length} leases, ${settled.length} settled, ${later.length} to be tried again`)
  // A cancel that waited for the statement that made its run ready cannot see the entry; the lease that meets it drops it.
  const tooMany = (await misplaced(others)) as { run: string; status: string; claim_key: string | null; run_after: Date | null }[]
  t.strictSame(tooMany.filter((row) => row.status !== 'CANCELLED' || (row.claim_key === null && row.run_after === null)), [], 'no entry is missing, and none is wrong')
  await others.query(`UPDATE task_runs SET run_after = now() - interval '1 s' WHERE status = 'READY' AND run_after > now()`)
  await promote(db, 10_000)
  const everything = Array.from({ length: 2_000 }, anySession)
  await lease(db, ['default'], everything, 60_000)
  t.strictSame(await misplaced(others), [])
  t.strictSame((await others.query(`SELECT result_id FROM task_runs WHERE status = 'READY'`)).rows, [], 'every run that waited could be leased')
  t.equal(new Set(settled).size, settled.length, 'nothing is settled twice')
  const { rows } = await others.query<{ id: string }>(`SELECT result_id::text AS id FROM task_runs WHERE status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') ORDER BY result_id`)
  t.strictSame(rows.map(({ id }) => id).toSorted(), settled.toSorted(), 'what is over was said to be over')
  t.ok(leases.length > 50 && settled.length > 20, 'and much did happen')
})
