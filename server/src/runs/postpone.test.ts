import t from 'tap'
import { controlFor, givenDatabase, givenLeased, givenRuns, givenSession, misplaced, newRunOf, placesOf, rowOf } from '../../../test/helpers/given.js'
import { cancel } from './cancel.js'
import { enqueue } from './enqueue.js'
import { lease, leaseGated } from './lease.js'
import { promote } from './promote.js'
import { release } from './release.js'

const HOUR_MS = 3_600_000
const held = async (others: Awaited<ReturnType<typeof givenDatabase>>['others'], queue: string) =>
  (await others.query<{ ms: number | null }>('SELECT (extract(epoch FROM reproq_held_until - now()) * 1000)::float8 AS ms FROM reproq_queue_controls WHERE queue_name = $1', [queue])).rows[0]?.ms

t.test('a run that is postponed gets its attempt back, and its queue goes on', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const leased = await givenLeased(db, session, { queue: 'q' })
  t.match(await release(db, [{ ...leased, delayMs: HOUR_MS }]), [{ run: leased.run, status: 'READY', delayMs: HOUR_MS, attempt: 0 }])
  t.strictSame(await placesOf(others, leased.run), ['scheduled'])
  t.equal(await held(others, 'q'), undefined)
  const [other] = await givenRuns(db, { queue: 'q' })
  t.match((await lease(db, ['q'], [session], 60_000)).runs, [{ run: other }])
})

t.test('a queue that is held gives nothing by any way until the hold has ended', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const leased = await givenLeased(db, session, { queue: 'q' })
  await release(db, [{ ...leased, delayMs: HOUR_MS, holdsQueue: true }])
  t.ok((await held(others, 'q') ?? 0) > HOUR_MS - 60_000)

  await givenRuns(db, { queue: 'q' })
  t.strictSame((await lease(db, ['q'], [session, session], 60_000)).runs, [])
  await givenRuns(db, { queue: 'q', control: controlFor({ lockKey: 'l' }) })
  t.strictSame((await leaseGated(db, ['q'], [session, session], 60_000)).runs, [])
  t.match(await enqueue(db, [newRunOf({ queue: 'q' })], [{ ...session, lease: '00000000-0000-0000-0000-000000000001' }], 60_000), [{ leased: false }], 'nor by birth')
  await cancel(db, [leased.run])
  const { queues, nextMs } = await promote(db)
  t.strictSame(queues, [])
  t.ok((nextMs ?? 0) > HOUR_MS - 60_000, 'the timer knows, also when no run is due then')

  await others.query("UPDATE reproq_queue_controls SET reproq_held_until = now() - interval '1 ms'")
  t.match(await promote(db), { queues: ['q'] }, 'its end wakes the queue, once')
  t.match(await promote(db), { queues: [] })
  t.equal(await held(others, 'q'), null)
  t.equal((await leaseGated(db, ['q'], [session, session, session], 60_000)).runs.length, 3)
  t.strictSame(await misplaced(others), [])
})

t.test('of several holds the latest moment counts, and a pause stays a pause', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const [one, two, three] = [await givenLeased(db, session, { queue: 'q' }), await givenLeased(db, session, { queue: 'q' }), await givenLeased(db, session, { queue: 'q' })]
  await release(db, [{ ...one, delayMs: 2 * HOUR_MS, holdsQueue: true }, { ...two, delayMs: HOUR_MS, holdsQueue: true }])
  await release(db, [{ ...three, delayMs: HOUR_MS, holdsQueue: true }])
  t.ok((await held(others, 'q') ?? 0) > 2 * HOUR_MS - 60_000)
  await others.query("UPDATE reproq_queue_controls SET paused = true, reproq_held_until = now()")
  await givenRuns(db, { queue: 'q' })
  await promote(db)
  t.strictSame((await lease(db, ['q'], [session], 60_000)).runs, [])
})

t.test('a run that somebody wants cancelled is not postponed, but its queue is held', async (t) => {
  const { db, others } = await givenDatabase(t)
  const leased = await givenLeased(db, await givenSession(db), { queue: 'q' })
  await others.query('UPDATE task_runs SET cancel_requested = true')
  t.match(await release(db, [{ ...leased, delayMs: HOUR_MS, holdsQueue: true }]), [{ status: 'CANCELLED' }])
  t.ok(await held(others, 'q'))
  t.match(await rowOf(others, leased.run), { status: 'CANCELLED' })
})
