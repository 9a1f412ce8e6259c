import t, { type Test } from 'tap'
import type { BrokerFrameOf, WorkerFrameOf } from '../../protocol/src/index.js'
import type { EventMap } from '../../server/src/events.js'
import { givenToken, testBroker, type TestBroker } from '../helpers/broker.js'
import { misplaced, rowOf, statusOf } from '../helpers/given.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

/** Nobody expires unless the test makes it so. */
const PATIENT = { heartbeatMs: 60_000, leaseMs: 600_000, reconnectMs: 60_000 }

type Item = BrokerFrameOf['runs']['items'][number]
type Hello = Partial<WorkerFrameOf['hello']>
const heldAs = (state: 'running' | 'done') => ({ run, lease }: Item) => ({ run, lease, state })

async function enqueue({ database }: TestBroker, count: number): Promise<void> {
  await database.pool.query(`SELECT reproq_enqueue('t.task') FROM generate_series(1, $1)`, [count])
}

/** A worker that has accepted `count` runs. */
async function workerWith(t: Test, own: TestBroker, count: number, hello: Hello = {}) {
  const worker = await ScriptedWorker.hello(t, own.url, own.token, hello)
  await enqueue(own, count)
  const items = await receive(worker, count)
  worker.send({ t: 'accept', l: items.map(({ l }) => l) })
  // Frames are handled in order: with this answer the accept is known to be in.
  worker.send({ t: 'hb', n: 1, held: items.map(({ l }) => l) })
  await worker.next('hb_ack')
  return { worker, items, resume: { session: worker.welcome.session, key: worker.welcome.key } }
}

async function receive(worker: ScriptedWorker, count: number): Promise<Item[]> {
  const items: Item[] = []
  while (items.length < count) items.push(...(await worker.next('runs')).items)
  return items
}

/** How each run was settled, by this broker. */
function settlements({ broker }: TestBroker) {
  const all: EventMap['run.settled'][] = []
  broker.events.on('run.settled', (event) => all.push(event))
  return (run: string) => all.filter(({ runId }) => runId === run).map(({ status }) => status)
}

/** Sends the results over HTTP, as a worker without a socket does. */
async function post({ url }: TestBroker, token: string, items: object[]) {
  const response = await fetch(`${url}/v1/worker/results`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify({ items }) })
  return { status: response.status, body: (await response.json()) as { items: { run: string; disp: string }[]; code?: string } }
}

t.test('a socket lost between result and result_ok loses nothing and settles nothing twice', async (t) => {
  const own = await testBroker(t, PATIENT)
  const settledAs = settlements(own)
  let finalized = 0
  let kept = 0
  for (let round = 0; round < 10; round++) {
    const { worker, items, resume } = await workerWith(t, own, 1, { instance: `round-${round}` })
    const [item] = items as [Item]
    worker.send({ t: 'result', items: [{ l: item.l, outcome: 'ok', output: String(round) }] })
    // Sometimes the frame was out, sometimes it dies in the socket: both must end well.
    if (round % 2) worker.drop()
    else worker.socket.close()
    const back = await ScriptedWorker.hello(t, own.url, own.token, { instance: `round-${round}`, resume, held: [heldAs('done')(item)], subs: [] })
    const [verdict] = back.welcome.verdicts
    t.match(verdict, { run: item.run, lease: item.lease })
    if (verdict?.verdict === 'finalized') finalized++
    else {
      t.match(verdict, { verdict: 'keep', l: Number })
      kept++
      back.send({ t: 'result', items: [{ l: verdict?.l, outcome: 'ok', output: String(round) }] })
      t.match((await back.next('result_ok')).items, [{ l: verdict?.l, disp: /finalized|duplicate/ }])
    }
    t.match(await rowOf(own.database.pool, item.run), { status: 'SUCCESSFUL', attempts: 1, return_json: round })
    t.strictSame(settledAs(item.run), ['SUCCESSFUL'], 'once')
    back.drop()
  }
  t.equal(finalized + kept, 10, `${finalized} were stored before the drop, ${kept} sent again`)
  t.strictSame(await misplaced(own.database.pool), [])
})

t.test('a result sent twice before its answer settles its run once, by the first', async (t) => {
  const own = await testBroker(t, PATIENT)
  const settledAs = settlements(own)
  const { worker, items } = await workerWith(t, own, 1)
  const [{ l, run }] = items as [Item]
  worker.send({ t: 'result', items: [{ l, outcome: 'ok', output: '"first"' }, { l, outcome: 'error' }] })
  worker.send({ t: 'result', items: [{ l, outcome: 'crashed' }] })
  t.strictSame((await worker.next('result_ok')).items, [{ l, disp: 'finalized' }, { l, disp: 'duplicate' }])
  await until('the second frame is answered', () => worker.received.filter((frame) => frame.t === 'result_ok' || frame.t === 'result_no').length === 2)
  t.match(await rowOf(own.database.pool, run), { status: 'SUCCESSFUL', return_json: 'first', errors_json: [] })
  t.strictSame(settledAs(run), ['SUCCESSFUL'])
})

t.test('a worker that drops twenty times keeps its leases, and no attempt is spent', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { worker: first, items, resume } = await workerWith(t, own, 3)
  let worker: ScriptedWorker = first
  for (let drop = 1; drop <= 20; drop++) {
    worker.drop()
    const back = await ScriptedWorker.hello(t, own.url, own.token, { resume, held: items.map(heldAs('running')) })
    t.match(back.welcome, { resumed: true, session: resume.session, conn: drop + 1 })
    const byRun = (list: { run: string; lease: string }[]) => list.map(({ run, lease }) => `${run} ${lease}`).toSorted()
    t.strictSame(byRun(back.welcome.verdicts), byRun(items))
    t.strictSame(back.welcome.verdicts.map(({ verdict }) => verdict), ['keep', 'keep', 'keep'])
    worker = back
    if (drop === 20) {
      back.send({ t: 'result', items: back.welcome.verdicts.map(({ l }) => ({ l, outcome: 'ok' })) })
      t.strictSame((await back.next('result_ok')).items.map(({ disp }) => disp), ['finalized', 'finalized', 'finalized'])
    }
  }
  for (const { run } of items) t.match(await rowOf(own.database.pool, run), { status: 'SUCCESSFUL', attempts: 1, worker_ids: ['scripted#one'], errors_json: [] })
  t.strictSame(await misplaced(own.database.pool), [])
})

t.test('what a worker says it holds is answered one by one: keep, cancel, finalized, lost', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { worker, items, resume } = await workerWith(t, own, 4)
  const [kept, wished, settled, taken] = items as [Item, Item, Item, Item]
  worker.send({ t: 'result', items: [{ l: settled.l, outcome: 'ok' }] })
  await worker.next('result_ok')
  worker.drop()
  await own.database.pool.query('UPDATE task_runs SET cancel_requested = true WHERE result_id = $1', [wished.run])
  await own.database.pool.query(`UPDATE task_runs SET status = 'FAILED' WHERE result_id = $1`, [taken.run])

  const back = await ScriptedWorker.hello(t, own.url, own.token, { resume, held: [...items.map(heldAs('running')), { run: '424242', lease: kept.lease, state: 'running' }], subs: [] })
  const verdictOf = (run: string) => back.welcome.verdicts.find((verdict) => verdict.run === run)
  t.match([kept, wished, settled, taken, { run: '424242' }].map(({ run }) => verdictOf(run)?.verdict), ['keep', 'cancel', 'finalized', 'lost', 'lost'])
  t.equal(verdictOf(settled.run)?.l, undefined, 'what is not held has no handle')

  const handles = [kept, wished].map(({ run }) => verdictOf(run)?.l as number)
  back.send({ t: 'hb', n: 1, held: handles })
  t.match(await back.next('hb_ack'), { ok: true, lost: [], cancel: [{ l: handles[1], mode: 'soft', reason: 'cancelled' }] })
  back.send({ t: 'result', items: [{ l: handles[0], outcome: 'ok' }, { l: handles[1], outcome: 'cancelled' }] })
  await back.next('result_ok')
  t.equal(await statusOf(own.database.pool, kept.run), 'SUCCESSFUL')
  t.equal(await statusOf(own.database.pool, wished.run), 'CANCELLED')
})

t.test('what a resumed worker does not list never reached it: it comes again, uncounted', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { worker, items, resume } = await workerWith(t, own, 3)
  worker.drop()
  const back = await ScriptedWorker.hello(t, own.url, own.token, { resume, held: items.slice(0, 1).map(heldAs('running')) })
  const again = await receive(back, 2)
  t.strictSame(again.map(({ run }) => run).toSorted(), items.slice(1).map(({ run }) => run).toSorted())
  t.strictSame(again.map(({ attempt }) => attempt), [1, 1])
  t.notOk(again.some(({ lease }) => items.some((item) => item.lease === lease)), 'under new leases')
  const [stale] = items.slice(1) as [Item]
  t.match((await post(own, own.token, [{ run: stale.run, lease: stale.lease, outcome: 'ok' }])).body.items, [{ disp: 'stale_lease' }], 'the old ones settle nothing')
  t.equal(await statusOf(own.database.pool, stale.run), 'RUNNING')
  t.strictSame(await misplaced(own.database.pool), [])
})

t.test('a new lease of a run that never arrived is found behind an old one the worker still holds', async (t) => {
  const own = await testBroker(t, { ...PATIENT, retryBaseMs: 0 })
  const { worker, items, resume } = await workerWith(t, own, 1)
  const [old] = items as [Item]
  // The result is stored, and the run leased to the same session again; neither answer nor lease reach the worker.
  worker.send({ t: 'result', items: [{ l: old.l, outcome: 'error' }] })
  const [young] = await receive(worker, 1) as [Item]
  t.equal(young.run, old.run)
  worker.drop()
  const back = await ScriptedWorker.hello(t, own.url, own.token, { resume, held: [heldAs('done')(old)] })
  t.match(back.welcome.verdicts, [{ lease: old.lease, verdict: 'lost' }])
  t.match(await receive(back, 1), [{ run: old.run, attempt: 2 }])
})

t.test('the leases of a dropped worker stay until reconnect_ms is over, and then go on, counted: also what it had not accepted may have started', async (t) => {
  const own = await testBroker(t, { heartbeatMs: 60_000, leaseMs: 600_000, reconnectMs: 1_000, reapMs: 50 })
  const { worker, items } = await workerWith(t, own, 1, { instance: 'lost' })
  const [accepted] = items as [Item]
  await enqueue(own, 1)
  const [unaccepted] = (await receive(worker, 1)) as [Item]
  worker.drop()
  const dropped = performance.now()
  const other = await ScriptedWorker.hello(t, own.url, own.token, { instance: 'other' })
  const again = await receive(other, 2)
  t.ok(performance.now() - dropped > 900, 'not before')
  t.match(again.find(({ run }) => run === accepted.run), { attempt: 2 })
  t.match(again.find(({ run }) => run === unaccepted.run), { attempt: 2 })
  t.match((await rowOf(own.database.pool, accepted.run)).errors_json, [{ kind: 'lease_expiry', attempt: 1, worker_id: 'scripted#lost' }])
  t.match((await rowOf(own.database.pool, unaccepted.run)).errors_json, [{ kind: 'lease_expiry', attempt: 1 }])
  t.strictSame(await misplaced(own.database.pool), [])
})

t.test('goodbye gives back the rest uncounted and leaves no trace of the worker', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { worker, items } = await workerWith(t, own, 3)
  const [done] = items as [Item]
  worker.send({ t: 'result', items: [{ l: done.l, outcome: 'ok' }] })
  worker.send({ t: 'bye', reason: 'shutdown' })
  t.match(await worker.closed, { code: 1000, reason: 'bye' })
  t.match(await worker.next('result_ok'), { items: [{ disp: 'finalized' }] }, 'what was sent before is stored first')
  t.equal(await statusOf(own.database.pool, done.run), 'SUCCESSFUL')
  for (const { run } of items.slice(1)) t.match(await rowOf(own.database.pool, run), { status: 'READY', attempts: 0, worker_ids: [], leased_by: null })
  for (const table of ['reproq_sessions', 'reproq_workers', 'reproq_leases']) t.strictSame((await own.database.pool.query(`SELECT * FROM ${table}`)).rows, [], table)
})

t.test('a worker whose session is over gets a new one, and keeps the leases that are still good', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { worker, items, resume } = await workerWith(t, own, 2)
  const [kept, reaped] = items as [Item, Item]
  worker.drop()
  // As after an outage: the session is gone, one of its runs was taken from it, the other nobody has looked at yet.
  await own.database.pool.query(`UPDATE task_runs SET status = 'READY', leased_by = NULL WHERE result_id = $1`, [reaped.run])
  const back = await ScriptedWorker.hello(t, own.url, own.token, { resume: { ...resume, session: '999999' }, held: items.map(heldAs('running')), subs: [] })
  t.equal(back.welcome.resumed, false)
  t.not(back.welcome.session, resume.session)
  t.not(back.welcome.key, resume.key)
  const verdict = back.welcome.verdicts.find(({ run }) => run === kept.run)
  t.match(verdict, { verdict: 'keep', lease: kept.lease })
  t.match(back.welcome.verdicts.find(({ run }) => run === reaped.run), { verdict: 'lost' })
  const { rows } = await own.database.pool.query('SELECT session_id::text AS session FROM reproq_leases WHERE result_id = $1', [kept.run])
  t.strictSame(rows, [{ session: back.welcome.session }], 'under the new session')
  back.send({ t: 'result', items: [{ l: verdict?.l, outcome: 'ok' }] })
  t.match((await back.next('result_ok')).items, [{ disp: 'finalized' }])
  t.match(await rowOf(own.database.pool, kept.run), { status: 'SUCCESSFUL', attempts: 1 })
})

t.test('without a socket results are proven by their lease, within the scope of the token', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { items } = await workerWith(t, own, 2)
  const [first, second] = items as [Item, Item]
  const stranger = await givenToken(own.database.url, ['work:queue:other'])
  t.match(await post(own, stranger, [{ run: first.run, lease: first.lease, outcome: 'ok' }]), { status: 403, body: { code: 'FORBIDDEN' } })
  const swapped = [{ run: first.run, lease: second.lease, outcome: 'ok' }, { run: second.run, lease: first.lease, outcome: 'ok' }]
  t.match(await post(own, stranger, swapped), { status: 200, body: { items: [{ disp: 'stale_lease' }, { disp: 'stale_lease' }] } }, 'leases that are good, of other runs')
  for (const { run } of items) t.equal(await statusOf(own.database.pool, run), 'RUNNING')

  const mine = await givenToken(own.database.url, ['work:queue:default'])
  const results = [{ run: first.run, lease: first.lease, outcome: 'ok', output: '1.0' }, { run: second.run, lease: first.lease, outcome: 'ok' }, { run: second.run, lease: second.lease, outcome: 'error', retry_after_ms: 1e6 }, { run: '424242', lease: first.lease, outcome: 'ok' }]
  t.strictSame((await post(own, mine, results)).body.items, [{ run: first.run, disp: 'finalized' }, { run: second.run, disp: 'stale_lease' }, { run: second.run, disp: 'retry_scheduled' }, { run: '424242', disp: 'stale_lease' }])
  t.match(await rowOf(own.database.pool, first.run), { status: 'SUCCESSFUL', attempts: 1 })
  t.strictSame((await post(own, mine, results.slice(0, 1))).body.items, [{ run: first.run, disp: 'duplicate' }])
})

t.test('a stale result is refused over the socket and over HTTP, and changes nothing', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { worker, items } = await workerWith(t, own, 1)
  const [item] = items as [Item]
  await own.database.pool.query(`UPDATE task_runs SET status = 'SUCCESSFUL', return_json = '"theirs"', leased_by = NULL`)
  worker.send({ t: 'result', items: [{ l: item.l, outcome: 'ok', output: '"ours"' }] })
  t.match((await worker.next('result_no')).items, [{ l: item.l, code: 'already_final' }])
  t.match((await post(own, own.token, [{ run: item.run, lease: item.lease, outcome: 'ok', output: '"ours"' }])).body.items, [{ disp: 'already_final' }])
  t.match(await rowOf(own.database.pool, item.run), { status: 'SUCCESSFUL', return_json: 'theirs' })
})

t.test('a lease accepted right behind a heartbeat that did not list it is not taken away', async (t) => {
  const own = await testBroker(t, PATIENT)
  const worker = await ScriptedWorker.hello(t, own.url, own.token)
  await enqueue(own, 1)
  const [item] = (await receive(worker, 1)) as [Item]
  worker.send({ t: 'hb', n: 1, held: [] })
  worker.send({ t: 'accept', l: [item.l] })
  await worker.next('hb_ack')
  worker.send({ t: 'hb', n: 2, held: [item.l] })
  t.match(await worker.next('hb_ack'), { n: 2, lost: [] })
  worker.send({ t: 'hb', n: 3, held: [] })
  await worker.next('hb_ack')
  t.match(await receive(worker, 1), [{ run: item.run, attempt: 1 }], 'one it has truly forgotten comes again, uncounted')
})
