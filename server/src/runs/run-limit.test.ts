import t from 'tap'
import { givenDatabase, givenLeased, givenSession, misplaced, type Given } from '../../../test/helpers/given.js'
import { reconcile } from '../sessions/sessions.js'
import { finalize } from './finalize.js'
import { lease } from './lease.js'
import { release } from './release.js'
import { setRunLimits } from './run-limit.js'
import { overdue } from './watch.js'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const NOBODYS = '00000000-0000-4000-8000-000000000000'
const limitsOf = async ({ others }: Given) => (await others.query<{ until: Date | null }>('SELECT run_until AS until FROM reproq_leases ORDER BY result_id')).rows.map(({ until }) => until)
/** Its attempt began so long ago. */
const begun = (given: Given, ms: number) => given.others.query(`UPDATE task_runs SET last_attempted_at = now() - $1 * interval '1 ms'`, [ms])

t.test('a limit is set, not added, for the lease that holds the run and for no other', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const [mine, other] = [await givenLeased(given.db, session), await givenLeased(given.db, session)]
  t.strictSame(await limitsOf(given), [null, null], 'an ordinary run has its timeout and nothing else')
  const [granted, stale] = await setRunLimits(given.db, [{ ...mine, timeoutMs: HOUR_MS }, { run: other.run, lease: NOBODYS, timeoutMs: HOUR_MS }], DAY_MS)
  t.equal(granted, HOUR_MS)
  t.equal(stale, undefined)
  t.match(await limitsOf(given), [Date, null])
  t.strictSame(await setRunLimits(given.db, [{ ...mine, timeoutMs: HOUR_MS }, { ...mine, timeoutMs: 60_000 }], DAY_MS), [60_000, 60_000], 'the last wish counts, also when it shortens')
  t.strictSame(await setRunLimits(given.db, [{ ...mine, lease: other.lease, timeoutMs: 1 }], DAY_MS), [undefined], "the proof of another run's lease is none")
})

t.test('nobody gets more than the maximum, counted from the lease; a longer timeout of its own stands', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const short = await givenLeased(given.db, session, { timeoutSeconds: 1 })
  await begun(given, HOUR_MS / 2)
  const ask = async (wanted: { run: string; lease: string }) => (await setRunLimits(given.db, [{ ...wanted, timeoutMs: DAY_MS }], HOUR_MS))[0] as number
  const left = await ask(short)
  t.ok(left <= HOUR_MS / 2 && left > HOUR_MS / 2 - 60_000, `what is left of it: ${left}`)
  await begun(given, HOUR_MS + 1_000)
  t.ok((await ask(short)) < 1, 'nothing is left')

  const long = await givenLeased(given.db, session, { timeoutSeconds: 2 * 3_600 })
  const ofItsOwn = await ask(long)
  t.ok(ofItsOwn > 2 * HOUR_MS - 60_000 && ofItsOwn <= 2 * HOUR_MS, `as long as its timeout: ${ofItsOwn}`)
})

t.test('the limit that was granted is the one that counts, and it survives a move to another session', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const run = await givenLeased(given.db, session, { timeoutSeconds: 10 })
  const late = async (sessionId: string) => (await overdue(given.db, [sessionId], 5_000)).length
  await begun(given, 30_000)
  t.equal(await late(session.sessionId), 1)
  await setRunLimits(given.db, [{ ...run, timeoutMs: HOUR_MS }], DAY_MS)
  t.equal(await late(session.sessionId), 0)
  const next = await givenSession(given.db, 'next')
  await reconcile(given.db, next.sessionId, [{ run: run.run, lease: run.lease }])
  t.equal(await late(next.sessionId), 0)
  await given.others.query(`UPDATE reproq_leases SET run_until = now() - interval '4 s'`)
  t.equal(await late(next.sessionId), 0, 'the slack is given')
  await given.others.query(`UPDATE reproq_leases SET run_until = now() - interval '6 s'`)
  t.equal(await late(next.sessionId), 1)
})

t.test('it ends with the attempt: the next one begins with the timeout of the run', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  let held: { run: string; lease: string } = await givenLeased(given.db, session)
  const again = async () => {
    const { runs } = await lease(given.db, [`of-${session.workerId}`], [session], 60_000)
    t.strictSame(await limitsOf(given), [null])
    held = runs[0] as typeof held
  }
  await setRunLimits(given.db, [{ ...held, timeoutMs: HOUR_MS }], DAY_MS)
  await release(given.db, [{ ...held, delayMs: 0 }])
  await again()
  await setRunLimits(given.db, [{ ...held, timeoutMs: HOUR_MS }], DAY_MS)
  await finalize(given.db, [{ ...held, status: 'READY', error: '{}', lastError: null, delayMs: 0 }])
  t.strictSame(await setRunLimits(given.db, [{ ...held, timeoutMs: HOUR_MS }], DAY_MS), [undefined], 'between attempts nobody has it')
  await again()
  await setRunLimits(given.db, [{ ...held, timeoutMs: HOUR_MS }], DAY_MS)
  // As after a fault: the entry of a lease that is over is still there.
  await given.others.query(`BEGIN; SET LOCAL reproq.internal = on; UPDATE task_runs SET status = 'READY'; INSERT INTO reproq_ready (queue_name, claim_key, result_id) SELECT queue_name, reproq_claim_key(priority, enqueued_at), result_id FROM task_runs; COMMIT`)
  await again()
  t.strictSame(await misplaced(given.others), [])

  await finalize(given.db, [{ ...held, status: 'FAILED', error: '{}', lastError: null, delayMs: 0 }])
  await given.others.query('INSERT INTO reproq_leases (result_id, session_id) VALUES ($1, $2)', [held.run, session.sessionId])
  t.strictSame(await setRunLimits(given.db, [{ ...held, timeoutMs: HOUR_MS }], DAY_MS), [undefined], 'a verdict keeps the id of its lease, and ends it')
})
