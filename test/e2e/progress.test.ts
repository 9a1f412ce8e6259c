import t, { type Test } from 'tap'
import { remoteTask, type RunEvent } from '../../sdk-ts/src/index.js'
import { testBroker as anyBroker, type TestBroker } from '../helpers/broker.js'
import type { Overrides } from '../../server/src/config.js'
import { ScriptedWorker } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

const echo = remoteTask<{ args: unknown[] }, unknown>('t.echo')
/** One that does not mind that a scripted worker is silent. */
const testBroker = (t: Test, overrides: Overrides = {}) => anyBroker(t, { heartbeatMs: 10_000, leaseMs: 60_000, ...overrides })
const CAPS = ['resume', 'logs', 'progress']

async function given(t: Test, broker: TestBroker) {
  const worker = await ScriptedWorker.hello(t, broker.url, broker.token, { caps: CAPS })
  const next = async () => {
    const [item] = (await worker.next('runs')).items
    if (!item) throw new Error('a frame without runs')
    worker.send({ t: 'accept', l: [item.l] })
    return item
  }
  const say = (l: number, said: object) => worker.send({ t: 'progress', items: [{ l, ...said }] })
  const end = async (l: number, outcome: string, more: object = {}) => {
    worker.send({ t: 'result', items: [{ l, outcome, ...more }] })
    return worker.next('result_ok')
  }
  return { worker, next, say, end }
}

t.test('progress is in the run while it runs, and in its events; of each field the last word counts', async (t) => {
  const broker = await testBroker(t)
  const { next, say, end } = await given(t, broker)
  const run = await broker.reproq.enqueue(echo, { args: [] })
  const { l } = await next()
  const events: RunEvent[] = []
  const following = (async () => {
    for await (const event of run.events()) events.push(event)
  })()
  await until('the stream is open', () => events.length > 0)
  say(l, { pct: 50, note: 'ha\u0000lf' })
  say(l, { data: '{"rows":\n12345678901234567890}' })
  await until('both are heard', () => events.length >= 3)
  t.match(events[1], { id: run.id, status: 'RUNNING', progress: { attempt: 1, pct: 50, note: 'ha\ufffdlf', data: null } })
  t.match(events[2], { progress: { pct: 50, note: 'ha\ufffdlf' } })
  const text = await (await fetch(`${broker.url}/v1/runs/${run.id}`, { headers: { authorization: `Bearer ${broker.token}` } })).text()
  t.match(text, /"progress":\{.*"pct":50.*"data":\{"rows": 12345678901234567890\}\}/, 'every digit, on one line')

  say(l, { data: 'no JSON', note: 'still here' })
  await until('what is no JSON is left out', async () => (await run.get()).progress?.note === 'still here')
  t.match((await run.get()).progress, { pct: 50, data: { rows: 12345678901234567000 } })
  await end(l, 'ok')
  await following
  t.equal((await run.get()).progress, undefined)
})

t.test('a checkpoint comes with the next lease, digit by digit, after a failure and after a release, and is erased in the end', async (t) => {
  const broker = await testBroker(t)
  const { worker, next, say, end } = await given(t, broker)
  const run = await broker.reproq.enqueue(echo, { args: [] })
  const first = await next()
  t.equal(first.checkpoint, undefined)
  say(first.l, { checkpoint: '{"at": 1}' })
  say(first.l, { checkpoint: '{"at": 12345678901234567890, "x": 1.0}' })
  worker.send({ t: 'result', items: [{ l: first.l, outcome: 'error', retry_after_ms: 0 }] })
  const second = await next()
  t.match(second, { attempt: 2, checkpoint: '{"at": 12345678901234567890, "x": 1.0}' }, 'stored before the retry could be leased')
  say(second.l, { checkpoint: '2' })
  worker.send({ t: 'release', items: [{ l: second.l, reason: 'shutdown' }] })
  const third = await next()
  t.match(third, { attempt: 2, checkpoint: '2' })
  await end(third.l, 'ok')
  t.same((await broker.database.pool.query('SELECT status, reproq_checkpoint AS kept FROM task_runs')).rows, [{ status: 'SUCCESSFUL', kept: null }])
  t.equal((await run.get()).status, 'SUCCESSFUL')
})

t.test('a checkpoint that is too large, or no JSON, is not kept; the one before it is', async (t) => {
  const broker = await testBroker(t, { checkpointBytes: 100 })
  const { worker, next, say } = await given(t, broker)
  t.equal(worker.welcome.limits.checkpoint, 100)
  await broker.reproq.enqueue(echo, { args: [] })
  const { l } = await next()
  say(l, { checkpoint: '"good"' })
  say(l, { checkpoint: `"${'x'.repeat(100)}"` })
  say(l, { checkpoint: '{' })
  worker.send({ t: 'result', items: [{ l, outcome: 'error', retry_after_ms: 0 }] })
  t.equal((await next()).checkpoint, '"good"')
})
