import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import { brokerProcess, givenToken, testBroker } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { refusal, ScriptedWorker, helloFrame } from '../helpers/scripted-worker.js'
import { until } from '../helpers/wait.js'

const PATIENT = { heartbeatMs: 60_000, leaseMs: 600_000, reconnectMs: 60_000 }

/** An event stream on a connection that its client would keep for more. */
async function eventStream(url: string, token: string, run: string, agent: Agent): Promise<IncomingMessage> {
  const request = get(`${url}/v1/runs/${run}/events`, { agent, headers: { authorization: `Bearer ${token}` } })
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  await once(response, 'data')
  return response
}

t.test('SIGTERM ends a broker although somebody follows a run that is not over', async (t) => {
  const database = await testDatabase(t)
  const token = await givenToken(database.url, ['admin'])
  const { url, child, exited } = await brokerProcess(t, database.url, { drainMs: 500 })
  const run = await enqueue(url, token)
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  const stream = await eventStream(url, token, run, agent)
  const ended = once(stream.resume(), 'end')
  const askedAt = performance.now()
  child.kill('SIGTERM')
  t.strictSame(await Promise.race([exited, until('the broker has ended', () => child.exitCode !== null, 4_000).then(() => exited)]), [0, null])
  t.ok(performance.now() - askedAt < 3_000, `took ${Math.round(performance.now() - askedAt)} ms`)
  await ended
  t.ok(stream.complete, 'the stream was ended, not torn')
})

t.test('a long poll that is answered by the stop does not hold it up', async (t) => {
  const own = await testBroker(t)
  const run = await enqueue(own.url, own.token)
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  const request = get(`${own.url}/v1/runs/${run}?wait_ms=60000`, { agent, headers: { authorization: `Bearer ${own.token}` } })
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  await until('it waits', async () => (await own.database.pool.query(`SELECT FROM pg_stat_activity WHERE query LIKE '%result_id%' AND application_name LIKE 'reproq %'`)).rowCount)
  const askedAt = performance.now()
  await own.broker.stop({ drainMs: 0 })
  t.ok(performance.now() - askedAt < 3_000, `took ${Math.round(performance.now() - askedAt)} ms`)
  const [response] = await answered
  response.resume()
  t.equal(response.statusCode, 200)
})

t.test('a client that reads nothing of its stream is cut off in the end', async (t) => {
  const own = await testBroker(t, { payloadBytes: 15_000_000, frameBytes: 60_000_000 })
  // More than the buffers of both sockets hold.
  const { id } = await own.reproq.enqueue('big', 'x'.repeat(14_000_000))
  const { port } = new URL(own.url)
  const socket = connect(Number(port), '127.0.0.1').pause()
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  socket.write(`GET /v1/runs/${id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${own.token}\r\n\r\n`)
  await once(socket, 'readable')
  const askedAt = performance.now()
  await own.broker.stop({ drainMs: 0 })
  const tookMs = performance.now() - askedAt
  t.ok(tookMs > 3_000 && tookMs < 9_000, `it had its time, and no more: ${Math.round(tookMs)} ms`)
})

t.test('a broker that drains says so: it is not ready, refuses new workers, and drains those that still say hello', async (t) => {
  const own = await testBroker(t, PATIENT)
  const { id } = await own.reproq.enqueue('slow', {})
  const busy = await ScriptedWorker.hello(t, own.url, own.token, { worker: 'busy' })
  const { items: [leased] } = await busy.next('runs')
  if (leased?.run !== id) throw new Error('not leased')
  busy.send({ t: 'accept', l: [leased.l] })
  const silent = await ScriptedWorker.connect(t, own.url, own.token)
  t.match(await (await fetch(`${own.url}/readyz`)).json(), { ready: true, checks: { draining: false } })

  const stopped = own.broker.stop({ drainMs: 20_000 })
  await busy.next('drain')
  const ready = await fetch(`${own.url}/readyz`)
  t.equal(ready.status, 503)
  t.match(await ready.json(), { ready: false, checks: { draining: true } })
  t.strictSame(await refusal(own.url, own.token), { status: 503, code: 'DRAINING' })
  t.match(await enqueue(own.url, own.token), /^\d+$/, 'a run is stored: others will do it')
  silent.send(helloFrame({ worker: 'silent', instance: 'two' }))
  t.match(await silent.next('drain'), { reason: 'shutdown' })
  t.strictSame(silent.received.map(({ t: kind }) => kind), ['welcome', 'drain'], 'and gets no run')

  busy.send({ t: 'result', items: [{ l: leased.l, outcome: 'ok', output: '1' }] })
  t.match(await busy.next('result_ok'), { items: [{ l: leased.l, disp: 'finalized' }] })
  t.match(await busy.closed, { code: 4503 })
  await stopped
})

async function enqueue(url: string, token: string): Promise<string> {
  const response = await fetch(`${url}/v1/runs`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: '{"task":"t","queue":"nobody"}' })
  return ((await response.json()) as { id: string }).id
}
