import t from 'tap'
import { leased, leaseId, ScriptedBroker, verdict, type Conversation } from './scripted-broker.test.given.js'
import { event, given, HandExecutor, silent } from './worker.test.given.js'
import { createWorker, Worker } from './worker.js'

/** A worker with runs 1 to 5 on two slots: 1 is done (its result is on the way), 2 and 3 run, 4 and 5 wait. */
async function givenWork(t: Parameters<typeof given>[0]) {
  const parts = await given(t)
  parts.link.send({ t: 'runs', items: [1, 2, 3, 4, 5].map((run) => leased(run, 'x')) })
  await parts.link.expect('accept')
  const first = await parts.executor.started(1)
  first.settle({ outcome: 'ok', output: '"done"' })
  await parts.link.expect('result')
  await parts.executor.started(3)
  return parts
}

async function reconnect(broker: ScriptedBroker, link: Conversation): Promise<Conversation> {
  link.cut()
  return broker.connection()
}

t.test('after a drop between result and result_ok the worker resumes, and sends the result again under its new handle', async (t) => {
  const { broker, executor, link } = await givenWork(t)
  const next = await reconnect(broker, link)
  const held = [1, 2, 3, 4, 5].map((run) => ({ run: String(run), lease: leaseId(run), state: run === 1 ? 'done' : 'running' }))
  const hello = await next.greet({ resumed: true, conn: 2, verdicts: [1, 2, 3, 4, 5].map((run) => verdict(run, 'keep', run + 20)) })
  t.match(hello, { resume: { session: '7', key: 'secret' }, held, subs: [{ window: 4 }] })
  t.equal(hello.held.length, 5)
  t.match((await next.expect('result')).items, [{ l: 21, outcome: 'ok', output: '"done"' }])
  next.send({ t: 'result_ok', items: [{ l: 21, disp: 'duplicate' }] })
  await next.beats(2)
  t.same(next.heartbeats.at(-1)?.held.sort(), [22, 23, 24, 25])
  for (const { signal } of executor.executions) t.equal(signal.aborted, false, 'what runs goes on')
  executor.executions[1]?.settle({ outcome: 'ok', output: '2' })
  t.match((await next.expect('result')).items, [{ l: 22, outcome: 'ok', output: '2' }], 'made on one link, reported on the next')
})

t.test('verdicts: lost code is killed, finalized results are dropped, cancels are obeyed, the rest is kept', async (t) => {
  const { broker, executor, link, worker } = await givenWork(t)
  const lost: string[] = []
  worker.on('lease.lost', ({ runId }) => lost.push(runId))
  const confirmed = event(worker, 'run.confirmed')
  const next = await reconnect(broker, link)
  await next.greet({ resumed: false, session: '8', verdicts: [verdict(1, 'finalized'), verdict(2, 'lost'), verdict(3, 'keep', 3), verdict(4, 'cancel', 4)] })
  t.match(await executor.told(await executor.started(2)), { reason: 'lost_lease', hard: true })
  t.match((await next.expect('result')).items, [{ l: 4, outcome: 'cancelled' }], 'no result of 1 and 2')
  t.match(await confirmed, { runId: '1', disposition: 'finalized' })
  t.same(lost.sort(), ['2', '5'], 'no word about a lease is a lost lease')
  t.equal(executor.executions[2]?.signal.aborted, false)
  await next.beats(2)
  t.same(next.heartbeats.at(-1)?.held.sort(), [3, 4])
  t.equal(executor.executions.length, 3, 'a lost run never starts')
})

t.test('a run that ends while there is no link is reported on the next', async (t) => {
  const { broker, executor, link, worker } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  const dropped = event(worker, 'disconnected')
  const arriving = broker.connection()
  link.cut()
  await dropped
  const settled = event(worker, 'run.settled')
  attempt.settle({ outcome: 'ok', output: '1' })
  await settled
  const next = await arriving
  const hello = await next.greet({ resumed: true, verdicts: [verdict(1, 'keep', 9)] })
  t.match(hello.held, [{ run: '1', state: 'done' }])
  t.match((await next.expect('result')).items, [{ l: 9, outcome: 'ok', output: '1' }])
})

t.test('leases the broker does not count as ours are stopped and forgotten', async (t) => {
  const { executor, link, worker } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x'), leased(2, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  link.answerHeartbeat = ({ n }) => ({ t: 'hb_ack', n, ok: true, lost: [1], cancel: [] })
  t.match(await event(worker, 'lease.lost'), { runId: '1' })
  t.match(await executor.told(attempt), { reason: 'lost_lease', hard: true })
  await link.beats(2)
  t.same(link.heartbeats.at(-1)?.held, [2])
  t.same(link.unread, [], 'nothing is reported of it')
})

t.test('superseded: the worker stops what runs, ends, and does not come back', async (t) => {
  const { broker, executor, link, worker } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  const attempt = await executor.started(1)
  const failed = event(worker, 'failed')
  link.send({ t: 'error', code: 'superseded', fatal: true, retry: 'never', message: 'Another connection has taken over' })
  link.close(4409)
  t.match(await failed, { code: 'WORKER_REFUSED', closeCode: 4409, message: /Another connection has taken over/, hint: /start the worker again/ })
  t.match(await executor.told(attempt), { reason: 'lost_lease', hard: true })
  await t.rejects(worker.closed(), { code: 'WORKER_REFUSED' })
  t.equal(broker.upgrades, 1)
})

t.test('a broker that says nothing any more is left, and sought again', async (t) => {
  const { broker, link, worker } = await given(t)
  link.answerHeartbeat = () => undefined
  const arriving = broker.connection()
  await event(worker, 'disconnected')
  const next = await arriving
  t.match(await next.expect('hello'), { resume: { session: '7' } })
})

t.test('a frame that breaks the protocol ends the link with 4400, and the worker resumes', async (t) => {
  const { broker, link } = await given(t)
  link.sendText('{"t":"runs","items":[{"l":1}]}')
  const next = await broker.connection()
  t.equal(link.closedWith, 4400)
  t.match(await next.expect('hello'), { resume: { session: '7' } })
})

t.test('a refusal waits as long as Retry-After says', async (t) => {
  const { broker, link } = await given(t)
  broker.refusals.push({ status: 503, headers: { 'retry-after': '1' } })
  const arriving = broker.connection()
  link.cut()
  const droppedAt = performance.now()
  await arriving
  t.ok(performance.now() - droppedAt >= 950)
  t.equal(broker.upgrades, 3)
})

const fatal = [
  { status: 401, message: /no such token/, hint: /REPROQ_TOKEN/ },
  { status: 403, message: /may not/, hint: /scopes/ },
  { status: 426, message: /426/, hint: /version/ },
  { status: 404, message: /404/, hint: /URL/ },
]
const bodies: Record<number, string> = { 401: '{"title":"Unauthorized","detail":"no such token"}', 403: '{"title":"may not"}' }

for (const { status, message, hint } of fatal) {
  t.test(`HTTP ${status} at the first start ends it with a reason`, async (t) => {
    const broker = await ScriptedBroker.start(t)
    broker.refusals.push({ status, body: bodies[status] ?? '' })
    await t.rejects(createWorker({ url: broker.url, executors: [new HandExecutor()], log: silent }), { code: 'WORKER_REFUSED', status, message, hint })
    t.equal(broker.upgrades, 1)
  })
}

t.test('a token that is refused later is tried again: it may be a rotation', async (t) => {
  const { broker, link } = await given(t)
  broker.refusals.push({ status: 401 })
  link.cut()
  await broker.connection()
  t.equal(broker.upgrades, 3)
})

t.test('with retry off, no broker at the first start is an error; with it on, the worker keeps trying', async (t) => {
  const broker = await ScriptedBroker.start(t)
  broker.stop()
  const options = { url: broker.url, executors: [new HandExecutor()], log: silent }
  await t.rejects(createWorker({ ...options, retry: false }), { code: 'BROKER_UNREACHABLE' })

  const patient = new Worker(options)
  const starting = patient.start()
  await patient.stop()
  await starting
})

t.test('when its broker drains, a worker that knows another one moves there with everything it holds', async (t) => {
  const brokers = [await ScriptedBroker.start(t), await ScriptedBroker.start(t)]
  const executor = new HandExecutor()
  const worker = new Worker({ urls: brokers.map(({ url }) => url), executors: [executor], log: silent })
  t.teardown(() => {
    for (const broker of brokers) broker.stop()
    return worker.stop()
  })
  const arrivals = brokers.map((broker) => broker.connection())
  const starting = worker.start()
  const first = await Promise.race(arrivals)
  await first.greet()
  await starting
  first.send({ t: 'runs', items: [leased(1, 'x')] })
  await first.expect('accept')
  await executor.started(1)
  const used = brokers.findIndex(({ upgrades }) => upgrades === 1)
  first.send({ t: 'drain', reason: 'shutdown', grace_ms: 10_000, reconnect_ms: 20 })
  const second = (await arrivals[1 - used]) as Conversation
  const hello = await second.greet({ resumed: true, verdicts: [verdict(1, 'keep', 1)] })
  t.match(hello, { resume: { session: '7' }, held: [{ run: '1' }] })
  await first.closed()
  t.equal(executor.executions[0]?.signal.aborted, false)
})

t.test('a worker that knows only the draining broker stays until it closes, then comes back', async (t) => {
  const { broker, executor, link } = await given(t)
  link.send({ t: 'runs', items: [leased(1, 'x')] })
  await link.expect('accept')
  link.send({ t: 'drain', reason: 'shutdown', grace_ms: 10_000, reconnect_ms: 0 })
  const attempt = await executor.started(1)
  await link.beats(2)
  attempt.settle({ outcome: 'ok', output: '1' })
  await link.expect('result')
  t.equal(link.closedWith, undefined)
  link.close(4503)
  await (await broker.connection()).expect('hello')
})

t.test('queues that the token does not cover are told', async (t) => {
  const broker = await ScriptedBroker.start(t)
  const worker = new Worker({ url: broker.url, executors: [new HandExecutor()], log: silent })
  t.teardown(() => {
    broker.stop()
    return worker.stop()
  })
  const connected = event(worker, 'connected')
  const starting = worker.start()
  await (await broker.connection()).greet({ refused: [{ queue: 'secret', code: 'forbidden' }] })
  await starting
  t.match(await connected, { session: '7', resumed: false, refused: ['secret'] })
})
