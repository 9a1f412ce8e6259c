import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { BrokerFrame, BrokerFrameOf, WorkerFrame } from '../../../protocol/src/index.js'
import { QUICK } from '../../../test/helpers/broker.js'
import { givenDatabase, givenRuns, placesOf, statusOf } from '../../../test/helpers/given.js'
import { helloFrame } from '../../../test/helpers/scripted-worker.js'
import { until } from '../../../test/helpers/wait.js'
import { loadConfig, type Overrides } from '../config.js'
import { Dispatch } from '../engine/dispatch.js'
import { GroupCommit } from '../engine/group-commit.js'
import { LogLinks } from '../engine/log-links.js'
import { Output } from '../engine/output.js'
import { Progress } from '../engine/progress.js'
import { Settle } from '../engine/settle.js'
import { Events } from '../events.js'
import { setRunLimits } from '../runs/run-limit.js'
import * as sessions from '../sessions/sessions.js'
import type { LinkContext } from './context.js'
import { settleUndeliverable } from './holdings.js'
import { Link, type Socket } from './link.js'
import { Links } from './links.js'

const MIB = 1_048_576

/** What a link does to its socket, written down. */
class FakeSocket implements Socket {
  readonly sent: BrokerFrame[] = []
  readonly closes: { code: number; reason: string }[] = []
  bufferedAmount = 0

  send(text: string): void {
    this.sent.push(JSON.parse(text) as BrokerFrame)
  }

  close(code: number, reason: string): void {
    this.closes.push({ code, reason })
  }

  of<T extends BrokerFrame['t']>(kind: T): BrokerFrameOf[T][] {
    return this.sent.filter((frame): frame is BrokerFrameOf[T] => frame.t === kind)
  }
}

type Sessions = typeof sessions

/** The inside of a broker without its doors: real database, real engine, sockets that are none, and a clock that a test moves. */
async function givenLinks(t: Test, overrides: Overrides = {}) {
  const { db, others, url } = await givenDatabase(t)
  const config = loadConfig({ ...QUICK, leaseMs: 60_000, databaseUrl: url, ...overrides }, {})
  const events = new Events()
  const log = pino({ level: 'silent' })
  const settle = new Settle(db, events, { retry: { baseMs: 50, capMs: 50, jitter: 0 }, outputBytes: config.outputBytes })
  const dispatch = new Dispatch(db, events, {
    leaseMs: config.leaseMs,
    onError: (error) => t.fail(String(error)),
    onUndelivered: (runs) => void settle.release(runs.map(({ run, lease }) => ({ run, lease, delayMs: 0 }))),
  })
  const clock = { now: 1_000_000 }
  const context: LinkContext & { sessions: Sessions } = {
    brokerId: 'broker',
    config,
    db,
    events,
    log,
    dispatch,
    settle,
    output: new Output(db, events, { links: new LogLinks(db, { areSigned: true, baseUrl: () => 'http://broker' }), onError: (error) => t.fail(String(error)) }),
    progress: new Progress(events),
    sessions: { ...sessions },
    renewals: new GroupCommit(async (batch) => {
      const renewed = await sessions.renew(db, batch, config.leaseMs)
      return batch.map(({ sessionId }) => renewed.has(sessionId))
    }, { limit: 100 }),
    limits: new GroupCommit((wanted) => setRunLimits(db, wanted, config.maxTimeoutMs), { limit: 500 }),
    links: new Links(),
    now: () => clock.now,
    settleUndeliverable: (entry, run, done) => settleUndeliverable(context, entry, run, done),
  }
  t.teardown(async () => {
    dispatch.stop()
    settle.stop()
    await until('nothing is leased any more', () => !dispatch.isBusy)
  })

  const connect = () => {
    const socket = new FakeSocket()
    const link = new Link(socket, () => true, context)
    context.links.connected(link)
    return { link, socket, say: (frame: WorkerFrame) => link.receive(JSON.stringify(frame), 1) }
  }
  const greeted = async (hello: Parameters<typeof helloFrame>[0] = {}) => {
    const one = connect()
    await one.say(helloFrame(hello))
    const [welcome] = one.socket.of('welcome')
    if (!welcome) throw new Error(`no welcome: ${JSON.stringify(one.socket.sent)}`)
    return { ...one, welcome }
  }
  /** Makes a run, and waits until the worker has it. */
  const delivered = async ({ socket }: { socket: FakeSocket }) => {
    const [run] = await givenRuns(db, {})
    dispatch.wake('default')
    return until('it has the run', () => socket.of('runs').flatMap(({ items }) => items).find((item) => item.run === run))
  }
  const leftMs = async (sessionId: string) => {
    const { rows } = await others.query<{ ms: number }>(`SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 * 1000 AS ms FROM reproq_sessions WHERE session_id = $1`, [sessionId])
    return rows[0]?.ms ?? Number.NaN
  }
  return { context, clock, config, db, others, dispatch, connect, greeted, delivered, leftMs }
}

/** Stands between a function and its answer until the test lets it go on. */
function held<Args extends unknown[], Out>(call: (...args: Args) => Promise<Out>) {
  let goOn = () => {}
  let reached = false
  const gate = new Promise<void>((resolve) => (goOn = resolve))
  const slowly = async (...args: Args): Promise<Out> => {
    const out = await call(...args)
    reached = true
    await gate
    return out
  }
  return { slowly, goOn: () => goOn(), wasReached: () => reached }
}

t.test('a socket that closes while its hello is answered: no welcome, no work, and nobody takes the link for open', async (t) => {
  for (const step of ['open', 'reconcile'] as const) {
    const given = await givenLinks(t)
    const waiting = held<never[], unknown>(sessions[step] as (...args: never[]) => Promise<unknown>)
    Object.assign(given.context.sessions, { [step]: waiting.slowly })
    let opened = 0
    given.context.events.on('session.opened', () => opened++)
    const { link, socket, say } = given.connect()
    const answered = say(helloFrame())
    await until(`the statement "${step}" has run`, waiting.wasReached)
    await link.closed(1006)
    waiting.goOn()
    await answered

    t.equal(link.phase, 'closed', step)
    t.strictSame(socket.sent, [], `${step}: nothing is said`)
    if (step === 'open') t.equal(opened, 0, 'a session that nobody has heard of was not opened')
    t.strictSame(given.context.links.all(), [])
    t.strictSame(given.context.links.open(), [])
    const [run] = await givenRuns(given.db, {})
    given.dispatch.wakeAll()
    await new Promise((resolve) => setTimeout(resolve, 50))
    t.strictSame(await placesOf(given.others, run as string), ['ready'], `${step}: nothing is leased to it`)
  }
})

t.test('a connection that takes over a session ends the older one, and leaves the session as long as it was', async (t) => {
  const given = await givenLinks(t)
  const first = await given.greeted()
  const { run, lease } = await given.delivered(first)
  const second = await given.greeted({ resume: { session: first.welcome.session, key: first.welcome.key }, held: [{ run, lease, state: 'running' }] })

  t.match(second.welcome, { resumed: true, session: first.welcome.session, verdicts: [{ run, verdict: 'keep' }] })
  t.match(first.socket.of('error'), [{ code: 'superseded', fatal: true, retry: 'never' }])
  t.strictSame(first.socket.closes, [{ code: 4409, reason: 'superseded' }])
  t.strictSame(given.context.links.open(), [second.link])
  await first.link.closed(4409)
  t.ok((await given.leftMs(first.welcome.session)) > 30_000, 'what the old socket did last did not shorten the session')
  await given.delivered(second)
  t.equal(first.socket.of('runs').length, 1, 'the old one gets no more')
})

t.test('a worker that does not read gets no more runs until it has caught up, and is let go after ten seconds', async (t) => {
  const given = await givenLinks(t, { heartbeatMs: 60_000 })
  const { link, socket } = await given.greeted()
  const look = () => link.check(given.clock.now)
  const isOffered = () => link.freeLanes().length > 0
  socket.bufferedAmount = MIB
  look()
  t.ok(isOffered(), 'as much as that may wait')
  socket.bufferedAmount = MIB + 1
  t.notOk(isOffered())
  look()
  const [run] = await givenRuns(given.db, {})
  given.dispatch.wake('default')
  socket.bufferedAmount = MIB / 2
  given.clock.now += 9_000
  look()
  t.notOk(isOffered(), 'half of it is read, which is not enough: on and off would cost more')
  socket.bufferedAmount = MIB / 4
  look()
  await until('the run that waited comes without another word', () => socket.of('runs').some(({ items }) => items.some((item) => item.run === run)))

  socket.bufferedAmount = MIB + 1
  look()
  given.clock.now += 10_000
  look()
  t.strictSame(socket.closes, [], 'the time before it had caught up does not count')
  given.clock.now += 1
  look()
  t.strictSame(socket.closes, [{ code: 4508, reason: 'slow_consumer' }])
  t.match(socket.of('error'), [{ code: 'slow_consumer', fatal: true, retry: 'backoff' }])
})

t.test('a worker of which nothing is heard for two and a half heartbeats is taken for gone', async (t) => {
  const given = await givenLinks(t, { heartbeatMs: 1_000 })
  const { link, socket, say, welcome } = await given.greeted()
  const later = (ms: number) => link.check((given.clock.now += ms))
  later(2_500)
  await say({ t: 'hb', n: 1, held: [] })
  later(2_500)
  link.heard()
  later(2_500)
  t.strictSame(socket.closes, [], 'a frame is a sign of life, and so is a ping')
  t.equal(socket.of('hb_ack').length, 1)
  later(1)
  t.strictSame(socket.closes, [{ code: 4504, reason: 'heartbeat_timeout' }])
  t.match(socket.of('error'), [{ code: 'heartbeat_timeout', retry: 'now' }])
  t.notOk(given.context.links.open().length, 'it holds no place any more')
  await until('its session waits for a new socket, and no longer', async () => (await given.leftMs(welcome.session)) <= given.config.reconnectMs)
})

t.test('who does not say hello in time is let go; who is being answered is not', async (t) => {
  const given = await givenLinks(t, { helloMs: 5_000 })
  const waiting = held(sessions.open)
  given.context.sessions = { ...sessions, open: waiting.slowly }
  const [silent, speaking] = [given.connect(), given.connect()]
  const answered = speaking.say(helloFrame())
  given.clock.now += 5_000
  silent.link.check(given.clock.now)
  t.strictSame(silent.socket.closes, [])
  given.clock.now += 1
  for (const { link } of [silent, speaking]) link.check(given.clock.now)
  t.strictSame(silent.socket.closes, [{ code: 4408, reason: 'hello_timeout' }])
  t.match(silent.socket.of('error'), [{ code: 'hello_timeout' }])
  t.strictSame(given.context.links.all(), [speaking.link])
  waiting.goOn()
  await answered
  t.equal(speaking.link.phase, 'open')
})

t.test('what passed while our own clock stood still is no silence of anybody', async (t) => {
  const given = await givenLinks(t, { heartbeatMs: 1_000, helloMs: 5_000 })
  const [silent, open] = [given.connect(), await given.greeted()]
  given.clock.now += 3_600_000
  for (const { link } of [silent, open]) {
    link.forgive(given.clock.now)
    link.check(given.clock.now)
  }
  t.strictSame([silent.socket.closes, open.socket.closes], [[], []])
  given.clock.now += 5_001
  for (const { link } of [silent, open]) link.check(given.clock.now)
  t.match([silent.socket.closes, open.socket.closes], [[{ code: 4408 }], [{ code: 4504 }]], 'it is counted from there')
})

t.test('a link that drains offers no room, whatever the worker asks for, and still takes results', async (t) => {
  const given = await givenLinks(t)
  const [greeting, one] = [given.connect(), await given.greeted()]
  const { l, run } = await given.delivered(one)
  greeting.link.drain()
  one.link.drain()
  t.strictSame(greeting.socket.sent, [], 'who has not said hello is told nothing')
  t.strictSame(one.socket.of('drain'), [{ t: 'drain', reason: 'shutdown', grace_ms: given.config.drainMs, reconnect_ms: given.config.reconnectMs }])
  await one.say({ t: 'subs', v: 2, items: [{ queues: ['default'], window: 50 }] })
  t.strictSame(one.link.freeLanes(), [])
  await one.say({ t: 'result', items: [{ l, outcome: 'ok', output: '1' }] })
  t.match(one.socket.of('result_ok'), [{ items: [{ l, disp: 'finalized' }] }])
  t.equal(await statusOf(given.others, run), 'SUCCESSFUL')
})

t.test('a broker that goes down tells its workers to find another, and their sessions keep the whole lease', async (t) => {
  const given = await givenLinks(t)
  const one = await given.greeted()
  const { run } = await given.delivered(one)
  one.link.dismiss()
  t.match(one.socket.of('error'), [{ code: 'broker_draining', fatal: true, retry: 'now' }])
  t.strictSame(one.socket.closes, [{ code: 4503, reason: 'broker_draining' }])
  one.link.dismiss()
  await one.link.closed(4503)
  t.equal(one.socket.closes.length, 1, 'once')
  t.ok((await given.leftMs(one.welcome.session)) > 30_000)
  t.strictSame(await placesOf(given.others, run), ['leased'], 'what it runs is left to it')
})

t.test('nothing is sent after the socket has closed, and what was on its way is stored all the same', async (t) => {
  const given = await givenLinks(t)
  const one = await given.greeted()
  const [first, second] = [await given.delivered(one), await given.delivered(one)]
  const closes: string[] = []
  given.context.events.on('link.closed', ({ code }) => closes.push(code))
  const forgotten: unknown[] = []
  given.dispatch.unregister = (taker) => void forgotten.push(taker)
  const before = one.socket.sent.length
  const underWay = [one.say({ t: 'result', items: [{ l: first.l, outcome: 'ok', output: '1' }] }), one.say({ t: 'hb', n: 1, held: [second.l] })]
  const entry = one.link.ledger.get(second.l)
  await one.link.closed(1006)
  await Promise.all(underWay)
  t.equal(await statusOf(given.others, first.run), 'SUCCESSFUL')

  if (entry) one.link.cancel(entry, 'soft', 'cancelled')
  one.link.drain()
  one.link.dismiss()
  one.link.complain('forbidden', 'too late')
  await one.say({ t: 'hb', n: 2, held: [] })
  await one.link.closed(1006)
  t.equal(one.link.deliver([]), false, 'runs go to somebody else')
  t.strictSame(one.link.freeLanes(), [])
  t.strictSame(one.socket.sent.slice(before), [])
  t.strictSame(one.socket.closes, [], 'it closed by itself')
  t.equal(forgotten[0], one.link, 'the dispatcher does not keep it')
  t.strictSame(closes, ['1006'], 'which is told once')
  t.strictSame(await placesOf(given.others, second.run), ['leased'], 'and what it has waits for its return')
})
