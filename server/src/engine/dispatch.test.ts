import t, { type Test } from 'tap'
import { givenDatabase, givenForeignRun, givenRuns, givenSession, misplaced, placesOf, type Given } from '../../../test/helpers/given.js'
import { until } from '../../../test/helpers/wait.js'
import type { Db } from '../db/pool.js'
import { Events } from '../events.js'
import { leaseGated, type Leased } from '../runs/lease.js'
import { release } from '../runs/release.js'
import { Dispatch, type FreeLane, type Taker } from './dispatch.js'

/** A taker whose room is what a test says, less what it was given. */
class TestTaker implements Taker {
  readonly got: Leased[] = []
  readonly sessionId: string
  readonly workerId: string
  present = true
  readonly #lanes: FreeLane[]

  constructor(session: { sessionId: string; workerId: string }, ...lanes: FreeLane[]) {
    this.sessionId = session.sessionId
    this.workerId = session.workerId
    this.#lanes = lanes
  }

  freeLanes(): FreeLane[] {
    return this.#lanes.map(({ queues, free }) => ({ queues, free: free - this.got.filter(({ queue }) => queues.includes(queue)).length }))
  }

  deliver(runs: Leased[]): boolean {
    if (this.present) this.got.push(...runs)
    return this.present
  }
}

/** Counts the statements, and lets a test stand between a statement and its answer. */
class WatchedDb implements Db {
  queries = 0
  readonly asked: string[] = []
  running = 0
  before: () => Promise<void> = async () => {}
  after: () => Promise<void> = async () => {}
  readonly #db: Db

  constructor(db: Db) {
    this.#db = db
  }

  query: Db['query'] = async (statement, params) => {
    this.queries++
    this.asked.push(statement.name)
    this.running++
    try {
      await this.before()
      const rows = await this.#db.query(statement, params)
      await this.after()
      return rows
    } finally {
      this.running--
    }
  }
}

function dispatchOn(t: Test, { db }: Given, options: { batch?: number; againMs?: number } = {}) {
  const watched = new WatchedDb(db)
  const errors: unknown[] = []
  const unserved: string[] = []
  const undelivered: Leased[] = []
  const dispatch = new Dispatch(watched, new Events(), {
    leaseMs: 60_000,
    againMs: 20,
    ...options,
    onError: (error) => errors.push(error),
    onUnserved: (queue) => unserved.push(queue),
    onUndelivered: (runs) => {
      undelivered.push(...runs)
      void release(watched, runs.map((run) => ({ ...run, delayMs: 0 }))).then(() => runs.forEach(({ queue }) => dispatch.wake(queue)))
    },
  })
  t.teardown(async () => {
    dispatch.stop()
    await until('nothing is on its way', () => watched.running === 0)
    await turns()
  })
  return { dispatch, watched, errors, unserved, undelivered }
}

/** Resolves when a turn that was asked for just now would have begun its statement. */
const turns = async (count = 3) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

t.test('nothing is asked of the database when nobody has room, or nothing woke', async (t) => {
  const given = await givenDatabase(t)
  const { dispatch, watched } = dispatchOn(t, given)
  dispatch.wake('default')
  dispatch.freed()
  await turns()
  t.equal(watched.queries, 0, 'no taker')

  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 1 })
  dispatch.register(taker)
  await until('the first look', () => watched.queries === 1)
  dispatch.freed()
  dispatch.wake('other')
  await turns()
  t.equal(watched.queries, 1, 'the queue is known to be empty, and nobody takes from the other')
})

t.test('a full batch is followed by another look, a short one is not', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, {}, {}, {}, {}, {})
  const { dispatch, watched } = dispatchOn(t, given, { batch: 2 })
  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 100 })
  dispatch.register(taker)
  await until('all five', () => taker.got.length === 5)
  await until('asleep', () => !dispatch.isBusy)
  t.equal(watched.queries, 4, 'the short one came from the watermark: the last looks at the head')
})

t.test('a wake-up that comes while a lease is on its way is not lost', async (t) => {
  const given = await givenDatabase(t)
  const { dispatch, watched } = dispatchOn(t, given)
  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 5 })
  // The statement has looked and found nothing; only then the run is stored and said.
  watched.after = async () => {
    watched.after = async () => {}
    await givenRuns(given.db, {})
    dispatch.wake('default')
  }
  dispatch.register(taker)
  await until('the run that came in between', () => taker.got.length === 1)
})

t.test('room that comes back while a lease is on its way is used', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, {}, {})
  const { dispatch, watched } = dispatchOn(t, given)
  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 1 })
  const done: Leased[] = []
  watched.after = async () => {
    setImmediate(() => {
      done.push(...taker.got.splice(0))
      dispatch.freed()
    })
  }
  dispatch.register(taker)
  await until('both, one after the other', () => done.length + taker.got.length === 2)
})

t.test('takers of one set of queues share a statement, and its runs evenly', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, ...Array.from({ length: 9 }, () => ({})))
  const { dispatch, watched } = dispatchOn(t, given)
  const takers = await Promise.all(['a', 'b', 'c'].map(async (name) => new TestTaker(await givenSession(given.db, name), { queues: ['default'], free: 10 })))
  for (const taker of takers) dispatch.register(taker)
  await until('all nine', () => takers.flatMap(({ got }) => got).length === 9)
  t.strictSame(takers.map(({ got }) => got.length), [3, 3, 3])
  await turns()
  t.equal(watched.queries, 1)
})

t.test('runs that trickle in one by one are shared too', async (t) => {
  const given = await givenDatabase(t)
  const { dispatch } = dispatchOn(t, given)
  const takers = await Promise.all(['a', 'b'].map(async (name) => new TestTaker(await givenSession(given.db, name), { queues: ['default'], free: 100 })))
  for (const taker of takers) dispatch.register(taker)
  for (let count = 1; count <= 6; count++) {
    await givenRuns(given.db, {})
    dispatch.wake('default')
    await until('the next', () => takers.flatMap(({ got }) => got).length === count)
  }
  t.ok(takers.every(({ got }) => got.length >= 2), `${takers.map(({ got }) => got.length).join(' and ')}`)
})

t.test('the queues of a lane share its room, and no lane gets more than that', async (t) => {
  const given = await givenDatabase(t)
  const low = await givenForeignRun(given.others, { queue_name: 'a' })
  const high = await givenForeignRun(given.others, { queue_name: 'b', priority: 5 })
  await givenRuns(given.db, { queue: 'c' }, { queue: 'c' }, { queue: 'c' })
  const { dispatch } = dispatchOn(t, given)
  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['a', 'b'], free: 5 }, { queues: ['c'], free: 2 })
  dispatch.register(taker)
  await until('four of five', () => taker.got.length === 4)
  await turns()
  t.strictSame(taker.got.filter(({ queue }) => queue !== 'c').map(({ run }) => run).toSorted(), [low, high].toSorted())
  t.equal(taker.got.filter(({ queue }) => queue === 'c').length, 2)
})

t.test('a lane that always has room and runs keeps no other lane waiting', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, ...Array.from({ length: 30 }, () => ({ queue: 'busy' })), { queue: 'quiet' })
  const { dispatch } = dispatchOn(t, given, { batch: 1 })
  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['busy'], free: 100 }, { queues: ['quiet'], free: 1 })
  dispatch.register(taker)
  await until('everything', () => taker.got.length === 31)
  const place = taker.got.findIndex(({ queue }) => queue === 'quiet')
  t.ok(place <= 2, `the quiet lane had its run as number ${place + 1}`)
})

t.test('where runs must be asked for one by one the slower statement leases, until it meets none', async (t) => {
  const given = await givenDatabase(t)
  const locked = await givenForeignRun(given.others, { lock_key: 'a' })
  const [plain] = await givenRuns(given.db, {})
  const { dispatch, watched } = dispatchOn(t, given)
  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 10 })
  dispatch.register(taker)
  await until('both', () => taker.got.length === 2)
  t.strictSame(taker.got.map(({ run }) => run), [locked, plain], 'in claim order')
  for (let count = 3; count <= 5; count++) {
    await givenRuns(given.db, {})
    dispatch.wake('default')
    await until('the next', () => taker.got.length === count)
  }
  t.strictSame(watched.asked, ['reproq_lease', 'reproq_lease-gated', 'reproq_lease-gated', 'reproq_lease', 'reproq_lease'])
})

t.test('the slower statement goes on past runs that must wait, and tells of queues that got runs in passing', async (t) => {
  const given = await givenDatabase(t)
  const { dispatch, unserved } = dispatchOn(t, given)
  await given.others.query(`INSERT INTO task_runs (spec_json, spec_hash, task_path, lock_key) SELECT '{}', 'x', 't', 'a' FROM generate_series(1, 3000)`)
  const elsewhere = await givenForeignRun(given.others, { queue_name: 'elsewhere', lock_key: 'b' })
  const holder = await givenForeignRun(given.others, { status: 'RUNNING', lock_key: 'b' })
  await leaseGated(given.db, ['elsewhere'], [await givenSession(given.db, 'other')], 60_000)
  t.strictSame(await placesOf(given.others, elsewhere), ['blocked'])
  await given.others.query(`UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id = $1`, [holder])
  const [plain] = await givenRuns(given.db, {})
  dispatch.register(new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 2 }))
  await until('the one behind them all', async () => (await placesOf(given.others, plain as string)).join() === 'leased')
  t.ok(unserved.includes('elsewhere'))
})

t.test('leases whose taker has gone go back uncounted, and to somebody else', async (t) => {
  const given = await givenDatabase(t)
  const [id] = await givenRuns(given.db, {})
  const { dispatch, undelivered, watched } = dispatchOn(t, given)
  const gone = new TestTaker(await givenSession(given.db, 'gone'), { queues: ['default'], free: 1 })
  const there = new TestTaker(await givenSession(given.db, 'there'), { queues: ['default'], free: 1 })
  watched.after = async () => {
    watched.after = async () => {}
    dispatch.unregister(gone)
    dispatch.register(there)
  }
  dispatch.register(gone)
  await until('the other has it', () => there.got.length === 1)
  t.strictSame(gone.got, [])
  t.equal(undelivered.length, 1)
  t.match(there.got, [{ run: id, attempt: 1 }])
  t.strictSame(await misplaced(given.others), [])
})

t.test('a taker that refuses delivery keeps nothing', async (t) => {
  const given = await givenDatabase(t)
  const [id] = await givenRuns(given.db, {})
  const { dispatch, undelivered } = dispatchOn(t, given)
  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 1 })
  taker.present = false
  dispatch.register(taker)
  await until('undelivered', () => undelivered.length > 0)
  dispatch.stop()
  await until('ready again', async () => (await placesOf(given.others, id as string)).join() === 'ready')
})

t.test('when the database fails a lease, it is told, and tried again by itself', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, {})
  const { dispatch, watched, errors } = dispatchOn(t, given)
  let failures = 2
  watched.before = async () => {
    if (failures-- > 0) throw new Error('gone')
  }
  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 1 })
  dispatch.register(taker)
  await until('the run', () => taker.got.length === 1)
  t.equal(errors.length, 2)
})

t.test('a stopped dispatcher leases nothing more', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, {})
  const { dispatch, watched } = dispatchOn(t, given)
  dispatch.stop()
  dispatch.register(new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 1 }))
  dispatch.wake('default')
  await turns()
  t.equal(watched.queries, 0)
})

t.test('places are reserved for runs to be born leased only where nothing ready may stand before them', async (t) => {
  const given = await givenDatabase(t)
  const { dispatch, watched } = dispatchOn(t, given, { batch: 2 })
  const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 10 })
  const reserved = () => {
    const places = dispatch.reserve('default', 3)
    dispatch.redeem(places, [])
    return places.length
  }
  let whileAsked: number | undefined
  watched.after = async () => {
    whileAsked = reserved()
  }
  dispatch.register(taker)
  t.equal(reserved(), 0, 'nobody has looked into the queue yet')
  await until('the first look', () => whileAsked !== undefined && !dispatch.isBusy)
  t.equal(whileAsked, 0, 'a statement is asking: what it finds was there before')
  t.equal(reserved(), 3, 'the queue is known to be empty')

  dispatch.wake('default')
  t.equal(reserved(), 0, 'there is word of a ready run, and nobody has asked for it yet')
  await until('the second look', () => watched.queries === 2 && !dispatch.isBusy)
  t.equal(reserved(), 3)
})

t.test('a run that comes in front of the watermark is found before the queue falls asleep', async (t) => {
  const given = await givenDatabase(t)
  const { dispatch, watched } = dispatchOn(t, given, { batch: 2 })
  const taker = new TestTaker(await givenSession(given.db), { queues: ['default'], free: 100 })
  await givenRuns(given.db, {}, {}, {}, {})
  let inFront: string | undefined
  watched.after = async () => {
    inFront ??= (await givenRuns(given.db, { priority: 100 }))[0]
  }
  dispatch.register(taker)
  await until('all are leased', () => taker.got.length === 5)
  t.equal(taker.got[4]?.run, inFront, 'nobody said that it is there')
  await until('asleep', () => !dispatch.isBusy)
  t.strictSame(await misplaced(given.others), [])
})

t.test('queues of a lane take turns, however long one has been waiting, in one statement and from one to the next', async (t) => {
  for (const gated of [false, true]) {
    const given = await givenDatabase(t)
    await givenRuns(given.db, ...Array.from({ length: 20 }, () => ({ queue: 'flood' })))
    await givenRuns(given.db, ...Array.from({ length: 3 }, () => ({ queue: 'late' })))
    if (gated) await given.others.query(`UPDATE rate_limits SET tokens_per_second = 1000000, burst_size = 1000, current_tokens = 1000 WHERE key = 'global'`)
    const { dispatch } = dispatchOn(t, given)
    const four = new TestTaker(await givenSession(given.db, 'w'), { queues: ['flood', 'late'], free: 4 })
    dispatch.register(four)
    await until('four', () => four.got.length === 4)
    t.strictSame(four.got.map(({ queue }) => queue).toSorted(), ['flood', 'flood', 'late', 'late'], gated ? 'one by one' : 'freely')
    dispatch.unregister(four)
    const order: string[] = []
    for (let at = 0; at < 4; at++) {
      const one = new TestTaker(await givenSession(given.db, `one-${at}`), { queues: ['flood', 'late'], free: 1 })
      dispatch.register(one)
      await until('one', () => one.got.length === 1)
      await until('asleep', () => !dispatch.isBusy)
      dispatch.unregister(one)
      order.push(one.got[0]?.queue ?? '')
    }
    t.equal(order.indexOf('late') < 2, true, `${order}`)
  }
})

t.test('a ready run that somebody holds keeps nothing behind it waiting, is not asked for without a pause, and comes when he lets go', async (t) => {
  for (const columns of [{}, { lock_key: 'a' }]) {
    const given = await givenDatabase(t)
    const held = await givenForeignRun(given.others, { ...columns, enqueued_at: new Date(Date.now() - 60_000) })
    const holder = await given.others.connect()
    t.teardown(() => holder.release(true))
    await holder.query('BEGIN')
    await holder.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [held])
    const behind = await givenRuns(given.db, {}, {})
    const { dispatch, watched, errors } = dispatchOn(t, given, { againMs: 200 })
    const taker = new TestTaker(await givenSession(given.db, 'w'), { queues: ['default'], free: 5 })
    dispatch.register(taker)
    await until('those behind it', () => taker.got.length === 2)
    t.strictSame(taker.got.map(({ run }) => run), behind)
    await until('asleep', () => !dispatch.isBusy)
    t.ok(watched.queries <= 4, `${watched.queries} statements`)
    await holder.query('ROLLBACK')
    await until('itself', () => taker.got.length === 3)
    t.strictSame(errors, [])
  }
})
