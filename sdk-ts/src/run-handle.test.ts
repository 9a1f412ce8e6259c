import t, { type Test } from 'tap'
import type { Client } from './client.js'
import { defineTask } from './define-task.js'
import { Reproq as ReproqOverFetch } from './edge.js'
import { Reproq } from './index.js'
import { aProblem, aRun, scriptedBroker, type Reply } from './scripted-broker.test.given.js'

const greet = defineTask({ name: 'greet', run: () => 'hello' })
const done: Reply = { body: aRun({ status: 'SUCCESSFUL', attempts: 1, output: { text: 'hello' } }) }
const failure = { kind: 'app_error', class: 'ValueError', message: 'bad address', traceback: 'File "mail.py", line 3', attempt: 3, at: null }
const failed: Reply = { body: aRun({ status: 'FAILED', attempts: 3, errors: [{ ...failure, message: 'older' }, failure] }) }
const state = (status: string, attempts: number) => `event: state\ndata: ${JSON.stringify({ id: '7', status, attempts })}\n\n`
const stream = (text: string, then: 'end' | 'cut' | 'hold'): Reply => (response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' }).write(text, () => (then === 'end' ? response.end() : then === 'cut' && response.destroy()))
}

for (const [transport, Class] of [['undici', Reproq], ['fetch', ReproqOverFetch]] as const) {
  t.test(`over ${transport}`, async (t) => {
    const client = (t: Test, url: string): Client => {
      const rq = new Class({ url })
      t.teardown(() => rq.close())
      return rq
    }

    t.test('result waits on the broker until the run is final, and is what the task returned', async (t) => {
      const broker = await scriptedBroker(t, { body: aRun() }, { body: aRun({ status: 'RUNNING' }) }, done)

      t.same(await client(t, broker.url).handle('7').result(), { text: 'hello' })

      t.same(broker.requests.map(({ path }) => path), Array(3).fill('/v1/runs/7?wait_ms=30000'))
    })

    t.test('run enqueues and waits', async (t) => {
      const broker = await scriptedBroker(t, { status: 201, body: { id: '7', deduplicated: false } }, { body: aRun({ status: 'SUCCESSFUL', output: 'hello' }) })

      const text: string = await client(t, broker.url).run(greet, undefined, { wait: '5s', queue: 'fast' })

      t.equal(text, 'hello')
      t.match(broker.requests, [{ path: '/v1/runs', body: { task: 'greet', queue: 'fast' } }, { path: /^\/v1\/runs\/7\?wait_ms=(5000|49\d\d)$/ }])
    })

    t.test('a failed run throws TaskFailed with the last failure and the remote stack', async (t) => {
      const broker = await scriptedBroker(t, failed)

      await t.rejects(client(t, broker.url).handle('7').result(), {
        name: 'TaskFailed',
        code: 'TASK_FAILED',
        message: 'Task "email.send" (run 7) failed after 3 of 3 attempts: ValueError: bad address',
        remoteStack: 'File "mail.py", line 3',
        run: { id: '7' },
      })
    })

    t.test('a cancelled run throws TaskCancelled', async (t) => {
      const broker = await scriptedBroker(t, { body: aRun({ status: 'CANCELLED' }) })

      await t.rejects(client(t, broker.url).handle('7').result(), { name: 'TaskCancelled', code: 'TASK_CANCELLED' })
    })

    t.test('settled gives every end as a value', async (t) => {
      const broker = await scriptedBroker(t, done, failed)
      const run = client(t, broker.url).handle('7')

      t.match(await run.settled(), { ok: true, output: { text: 'hello' }, run: { attempts: 1 } })
      t.match(await run.settled(), { ok: false, error: { name: 'TaskFailed' }, run: { attempts: 3 } })
    })

    t.test('a wait that takes too long throws WaitTimeout and leaves the run alone', async (t) => {
      const broker = await scriptedBroker(t, (response, { path }) => {
        setTimeout(() => response.end(JSON.stringify(aRun({ status: 'RUNNING' }))), Number(path.split('wait_ms=')[1]))
      })

      await t.rejects(client(t, broker.url).handle('7').result({ timeout: '200ms' }), { name: 'WaitTimeout', code: 'WAIT_TIMEOUT', runId: '7', hint: /cancel/, cause: undefined })

      t.ok(broker.requests.every(({ method }) => method === 'GET'))
      t.ok(broker.requests.length <= 2, 'when time is up nothing more is asked, but for a timer of the broker that was early')
    })

    t.test('a wait survives a restart of the broker', async (t) => {
      const broker = await scriptedBroker(t, () => {}, aProblem(503, 'DATABASE_UNAVAILABLE'), done)
      const absences: string[] = []
      const result = client(t, broker.url).handle('7').result({ timeout: '30s', onAway: ({ message }) => absences.push(message) })
      await broker.received(1)

      const comeBack = await broker.crash()
      await comeBack()

      t.same(await result, { text: 'hello' })
      t.equal(broker.requests.length, 3)
      t.match(absences, [/No answer from the broker/], 'told once')
    })

    t.test('the present state is asked for no longer than the caller would wait, and onAway may end that', async (t) => {
      const broker = await scriptedBroker(t, 'hang up')

      await t.rejects(client(t, broker.url).handle('7').get({ timeout: 1 }), { name: 'BrokerUnreachable' })
      const end = () => { throw new Error('not there') }
      await t.rejects(client(t, broker.url).handle('7').get({ onAway: end }), { message: 'not there' })
    })

    t.test('a broker that stays away ends the wait as a WaitTimeout that says so', async (t) => {
      const broker = await scriptedBroker(t, 'hang up')

      await t.rejects(client(t, broker.url).handle('7').result({ timeout: 200 }), { name: 'WaitTimeout', cause: { name: 'BrokerUnreachable' } })
    })

    t.test('a refusal ends the wait at once', async (t) => {
      const broker = await scriptedBroker(t, aProblem(404, 'RUN_NOT_FOUND'))

      await t.rejects(client(t, broker.url).handle('7').result(), { name: 'RunNotFound' })
    })

    t.test('a signal ends the wait with its own reason, also between two attempts', async (t) => {
      const hanging = await scriptedBroker(t, () => {})
      const stopping = new AbortController()
      const result = client(t, hanging.url).handle('7').result({ signal: stopping.signal })
      await hanging.received(1)
      stopping.abort(new Error('the user left'))
      await t.rejects(result, { message: 'the user left' })

      const away = aProblem(503, 'DATABASE_UNAVAILABLE')
      const busy = await scriptedBroker(t, { ...away, headers: { ...away.headers, 'retry-after': '60' } })
      const leaving = new AbortController()
      const pausing = client(t, busy.url).handle('7').result({ signal: leaving.signal })
      await busy.received(1)
      leaving.abort(new Error('left again'))
      await t.rejects(pausing, { message: 'left again' })
    })

    t.test('cancel says what became of the run', async (t) => {
      const broker = await scriptedBroker(t, { body: { status: 'cancelling', run: { id: '7', status: 'RUNNING' } } })

      t.match(await client(t, broker.url).handle('7').cancel(), { status: 'cancelling' })
      t.match(broker.requests, [{ method: 'POST', path: '/v1/runs/7/cancel' }])
    })

    t.test('events are the states until the final one, told once over any number of connections', async (t) => {
      const broker = await scriptedBroker(
        t,
        stream(': welcome\n\n' + state('READY', 0) + state('RUNNING', 1), 'cut'),
        aProblem(503, 'DATABASE_UNAVAILABLE'),
        stream(state('RUNNING', 1) + state('READY', 1), 'end'),
        stream(state('READY', 1) + state('RUNNING', 2) + state('SUCCESSFUL', 2) + state('READY', 9), 'hold'),
      )
      const seen: string[] = []
      const absences: string[] = []

      for await (const event of client(t, broker.url).handle('7').events({ onAway: ({ name }) => absences.push(name) })) seen.push(`${event.status} ${event.attempts}`)

      t.same(absences, ['BrokerUnreachable'], 'one absence, however many attempts fail')
      t.same(seen, ['READY 0', 'RUNNING 1', 'READY 1', 'RUNNING 2', 'SUCCESSFUL 2'])
      t.equal(broker.requests.length, 4)
      t.match(broker.requests[0], { path: '/v1/runs/7/events', headers: { accept: 'text/event-stream' } })
    })

    t.test('leaving the loop closes the connection', async (t) => {
      let closed: Promise<unknown> = Promise.reject(new Error('never asked'))
      closed.catch(() => {})
      const broker = await scriptedBroker(t, (response) => {
        closed = new Promise((resolve) => response.on('close', resolve))
        response.writeHead(200, { 'content-type': 'text/event-stream' }).write(state('READY', 0))
      })

      for await (const event of client(t, broker.url).handle('7').events()) if (event.status === 'READY') break

      await closed
      t.equal(broker.requests.length, 1)
    })

    t.test('events of a run that is not there are refused, and a signal ends them', async (t) => {
      const nowhere = await scriptedBroker(t, aProblem(404, 'RUN_NOT_FOUND'))
      await t.rejects(client(t, nowhere.url).handle('7').events().next(), { name: 'RunNotFound' })

      const broker = await scriptedBroker(t, stream(state('READY', 0), 'hold'))
      const stopping = new AbortController()
      const events = client(t, broker.url).handle('7').events({ signal: stopping.signal })
      await events.next()
      stopping.abort(new Error('enough'))
      await t.rejects(events.next(), { message: 'enough' })
    })
  })
}
