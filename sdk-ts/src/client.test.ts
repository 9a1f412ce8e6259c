import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import * as z from 'zod'
import type { Client, ReproqOptions } from './client.js'
import { defineTask, type TaskContext } from './define-task.js'
import { Reproq as ReproqOverFetch } from './edge.js'
import type { EnqueueOptions } from './enqueue-request.js'
import { float } from './float.js'
import { Reproq } from './index.js'
import { remoteTask } from './remote-task.js'
import { aProblem, scriptedBroker, type Reply } from './scripted-broker.test.given.js'

const send = defineTask({ name: 'email.send', input: z.object({ to: z.string(), locale: z.string().default('en') }), queue: 'mail', retry: { attempts: 5 }, timeout: '30s', run: () => 'sent' })
const tick = defineTask({ name: 'tick', run() {} })
const created: Reply = { status: 201, body: { id: '7', deduplicated: false } }

// Both transports keep the same promises.
for (const [transport, Class] of [['undici', Reproq], ['fetch', ReproqOverFetch]] as const) {
  t.test(`over ${transport}`, async (t) => {
    const client = (t: Test, options: ReproqOptions): Client => {
      const rq = new Class({ token: 'secret', ...options })
      t.teardown(() => rq.close())
      return rq
    }

    t.test('an enqueue posts the name, the input and the defaults of the task, with the token', async (t) => {
      const broker = await scriptedBroker(t, created)

      const run = await client(t, { url: broker.url }).enqueue(send, { to: 'ada' })

      t.match(run, { id: '7', deduplicated: false })
      const [request] = broker.requests
      t.match(request, { method: 'POST', path: '/v1/runs', headers: { authorization: 'Bearer secret', 'content-type': 'application/json' } })
      t.strictSame(request?.body, { task: 'email.send', args: [{ to: 'ada' }], queue: 'mail', max_attempts: 5, timeout_ms: 30_000 })
    })

    t.test('options stand before the defaults, in the units of the wire', async (t) => {
      const broker = await scriptedBroker(t, { status: 201, body: { id: '7', deduplicated: true } })
      const rq = client(t, { url: broker.url })

      const run = await rq.enqueue(send, { to: 'ada' }, { delay: '10m', priority: -2, queue: 'slow', maxAttempts: 1, timeout: 1_500, idempotencyKey: 'welcome:1' })
      await rq.enqueue(tick, undefined, { runAt: new Date('2030-01-01T00:00:00Z') })

      t.equal(run.deduplicated, true)
      t.strictSame(broker.requests.map(({ body }) => body), [
        { task: 'email.send', args: [{ to: 'ada' }], queue: 'slow', priority: -2, delay_ms: 600_000, max_attempts: 1, timeout_ms: 1_500, idempotency_key: 'welcome:1' },
        { task: 'tick', args: [], run_after: '2030-01-01T00:00:00.000Z' },
      ])
    })

    t.test('what a run asks for comes from its task and from the enqueue, which goes first', async (t) => {
      const broker = await scriptedBroker(t, created)
      const rq = client(t, { url: broker.url })
      const charge = defineTask({
        name: 'charge',
        input: z.object({ customer: z.number(), tenant: z.string().optional() }),
        lockKey: ({ customer }) => `customer:${customer}`,
        concurrency: { key: 'payments', limit: 3 },
        rate: { key: ({ customer }) => `customer:${customer}`, limit: 10, per: '1m' },
        fairKey: ({ tenant }) => tenant,
        expiresIn: '1h',
        retry: { attempts: 5, backoff: 'fixed', min: '2s', jitter: 0.1, nonRetryable: ['CardDeclined'] },
        run() {},
      })

      await rq.enqueue(charge, { customer: 7 })
      await rq.enqueue(charge, { customer: 7, tenant: 'a' }, { lockKey: 'other', concurrency: { key: 'c', limit: 1 }, rate: { key: 'r', limit: 1, per: 500, burst: 2 }, expiresAt: '2030-01-01T00:00:00Z', retry: { backoff: ['1s', '1m'] } })
      await rq.enqueue(remoteTask<{ args: [number] }>('mypkg.add', { lockKey: ({ args }) => `n${args[0]}`, retry: { attempts: 2, max: '1m' } }), { args: [1] })

      t.strictSame(broker.requests.map(({ body }) => body), [
        { task: 'charge', args: [{ customer: 7 }], max_attempts: 5, lock_key: 'customer:7', concurrency_key: 'payments', concurrency_limit: 3, rate: { key: 'customer:7', limit: 10, per_ms: 60_000 }, expires_in_ms: 3_600_000, retry: { base_ms: 2_000, factor: 1, jitter: 0.1, non_retryable: ['CardDeclined'] } },
        { task: 'charge', args: [{ customer: 7, tenant: 'a' }], max_attempts: 5, lock_key: 'other', concurrency_key: 'c', concurrency_limit: 1, rate: { key: 'r', limit: 1, per_ms: 500, burst: 2 }, fair_key: 'a', expires_at: '2030-01-01T00:00:00.000Z', retry: { delays_ms: [1_000, 60_000] } },
        { task: 'mypkg.add', args: [1], max_attempts: 2, lock_key: 'n1', retry: { cap_ms: 60_000 } },
      ])
    })

    t.test('a float goes out as one, where a whole number stands', async (t) => {
      const broker = await scriptedBroker(t, created, echoBulk)
      const rq = client(t, { url: broker.url })
      await rq.enqueue('scale', { by: float(2), to: 3 })
      await rq.enqueueMany(remoteTask<{ args: number[]; kwargs: { by: number } }>('mypkg.scale'), [{ input: { args: [float(2)], kwargs: { by: float(1) } } }])
      t.match(broker.requests.map(({ text }) => text), [/\{"by":2\.0,"to":3\}/, /"args":\[2\.0\],"kwargs":\{"by":1\.0\}/])
    })

    t.test('a name does as well as a task, and another language gets its own arguments', async (t) => {
      const broker = await scriptedBroker(t, created)
      const rq = client(t, { url: broker.url })

      await rq.enqueue<typeof send>('email.send', { to: 'ada' })
      await rq.enqueue(remoteTask<{ args: [number]; kwargs: { by: number } }>('mypkg.add', { queue: 'python' }), { args: [1], kwargs: { by: 2 } })

      t.strictSame(broker.requests.map(({ body }) => body), [
        { task: 'email.send', args: [{ to: 'ada' }] },
        { task: 'mypkg.add', args: [1], kwargs: { by: 2 }, queue: 'python' },
      ])
    })

    t.test('what cannot be enqueued is refused before anything is sent', async (t) => {
      const broker = await scriptedBroker(t, created)
      const rq = client(t, { url: broker.url })
      const cycle: { self?: unknown } = {}
      cycle.self = cycle

      await t.rejects(rq.enqueue(send, { to: 5 as unknown as string }), { name: 'InvalidInput', message: /"email\.send" is invalid: to: / })
      await t.rejects(rq.enqueueMany(send, [{ input: { to: 'ada' } }, { input: { to: 5 as unknown as string } }]), { name: 'InvalidInput' })
      await t.rejects(rq.enqueue('big', 1n), { name: 'InvalidInput', message: /BigInt/ })
      await t.rejects(rq.enqueue('cycle', cycle), { name: 'InvalidInput', message: /circular/ })
      await t.rejects(rq.enqueue(tick, undefined, { delay: 1, runAt: new Date() }), { name: 'InvalidOption', message: /exclude each other/ })
      await t.rejects(rq.enqueue(tick, undefined, { runAt: 'tomorrow' }), { name: 'InvalidOption', message: /"tomorrow"/ })
      await t.rejects(rq.enqueue(tick, undefined, { delay: 'soon' }), { name: 'InvalidDuration', message: /"soon"/ })

      await t.rejects(rq.enqueue('add', 1, { args: [2] } as EnqueueOptions), { name: 'InvalidOption', hint: /there are delay, .*lockKey.*remoteTask\(name\)/ })
      await t.rejects(rq.enqueue(remoteTask('add'), { a: 2 } as object), { name: 'InvalidOption', message: /"add" is called with \{ args, kwargs \}; there is no "a"/ })

      t.equal(broker.requests.length, 0)
    })

    t.test('options that cannot be are refused, and say which', async (t) => {
      const rq = client(t, { url: 'http://127.0.0.1:9' })
      const refused: [EnqueueOptions, RegExp][] = [
        [{ lockKey: '' }, /lockKey is text that is not empty, not ""/],
        [{ concurrency: { key: 'c', limit: 0 } }, /concurrency\.limit is a whole number of at least 1, not 0/],
        [{ rate: { key: 'r', limit: 1.5, per: '1s' } }, /rate\.limit .* not 1\.5/],
        [{ expiresIn: 0 }, /expiresIn is 0, which is no time/],
        [{ rate: { key: 'r', limit: 1, per: '0s' } }, /rate\.per is "0s", which is no time/],
        [{ expiresIn: '1m', expiresAt: new Date() }, /exclude each other/],
        [{ expiresAt: 'someday' }, /expiresAt is no instant: "someday"/],
        [{ retry: { attempts: 0 } }, /retry\.attempts is an integer from 1 to 1000, not 0/],
        [{ locKey: 'a' } as EnqueueOptions, /An enqueue has no option "locKey"/],
        [{ args: [1] } as EnqueueOptions, /no option "args"/],
        [{ retry: { atempts: 1 } } as EnqueueOptions, /retry has no option "atempts"/],
        [{ retry: { backoff: 'linear' } } as unknown as EnqueueOptions, /retry\.backoff is "exponential", "fixed" or a list of waits, not "linear"/],
        [{ concurrency: { key: 'c', limit: 1, max: 1 } } as EnqueueOptions, /concurrency has no option "max"/],
        [{ rate: { key: 'c', limit: 1, per: '1s', perMs: 1 } } as EnqueueOptions, /rate has no option "perMs"/],
        [{ retry: { jitter: 2 } }, /retry\.jitter .* not 2/],
        [{ retry: { backoff: [] } }, /empty list/],
        [{ retry: { backoff: ['1s'], min: '1s' } }, /leaves nothing for min and max/],
      ]
      for (const [options, message] of refused) await t.rejects(rq.enqueue(tick, undefined, options), { name: 'InvalidOption', message }, String(message))
    })

    t.test('many runs go a thousand at a time and keep their order', async (t) => {
      const broker = await scriptedBroker(t, echoBulk)
      const count = defineTask({ name: 'count', run: ({ input }: TaskContext<number>) => input })

      const runs = await client(t, { url: broker.url }).enqueueMany(count, Array.from({ length: 2_500 }, (_, input) => ({ input, priority: 1 })))

      t.same(broker.requests.map(({ body }) => (body as { runs: unknown[] }).runs.length), [1_000, 1_000, 500])
      t.same(runs.map(({ id }) => id), Array.from({ length: 2_500 }, (_, n) => `id of ${n}`))
      t.match(broker.requests[0]?.body, { runs: [{ task: 'count', args: [0], priority: 1 }] })
      t.same(await client(t, { url: broker.url }).enqueueMany(count, []), [], 'none asks nothing')
      t.equal(broker.requests.length, 3)
    })

    t.test('when a later thousand fails, the error names the runs that exist', async (t) => {
      const broker = await scriptedBroker(t, echoBulk, aProblem(413, 'TOO_LARGE'))
      const rq = client(t, { url: broker.url })
      const items = Array.from({ length: 1_001 }, (_, input) => ({ input }))

      const error = await rq.enqueueMany('count', items).catch((error: unknown) => error)

      t.match(error, { name: 'PartlyEnqueued', code: 'PARTLY_ENQUEUED', cause: { code: 'TOO_LARGE' }, hint: /from item 1000/ })
      t.equal((error as { ids: string[] }).ids.length, 1_000)
      await t.rejects(rq.enqueueMany('count', items), { name: 'HttpProblem', code: 'TOO_LARGE' }, 'the first thousand fails as itself')
    })

    t.test('an enqueue that got no answer is not sent again: it may have made a run', async (t) => {
      const broker = await scriptedBroker(t, 'hang up', created)

      await t.rejects(client(t, { url: broker.url }).enqueue(tick), { name: 'BrokerUnreachable', code: 'BROKER_UNREACHABLE', url: `${broker.url}/`, hint: /REPROQ_URL/ })

      t.equal(broker.requests.length, 1)
    })

    t.test('with an idempotency key it is sent again until the broker is back', async (t) => {
      const broker = await scriptedBroker(t, 'hang up', aProblem(503, 'DATABASE_UNAVAILABLE'), created)

      const run = await client(t, { url: broker.url }).enqueue(tick, undefined, { idempotencyKey: 'once' })

      t.equal(run.id, '7')
      t.equal(broker.requests.length, 3)
    })

    t.test('many are sent again only when each has a key', async (t) => {
      const broker = await scriptedBroker(t, 'hang up', 'hang up', echoBulk)
      const rq = client(t, { url: broker.url })

      await t.rejects(rq.enqueueMany('a', [{ input: 1, idempotencyKey: 'x' }, { input: 2 }]), { name: 'BrokerUnreachable' })
      t.equal((await rq.enqueueMany('a', [{ input: 1, idempotencyKey: 'x' }])).length, 1)

      t.equal(broker.requests.length, 3)
    })

    t.test('trying ends with the time for a request', async (t) => {
      const broker = await scriptedBroker(t, 'hang up')
      const started = performance.now()

      await t.rejects(client(t, { url: broker.url, requestTimeout: 300 }).enqueue(tick, undefined, { idempotencyKey: 'once' }), { name: 'BrokerUnreachable' })

      t.ok(broker.requests.length >= 2 && performance.now() - started <= 3_000, `${broker.requests.length} requests`)
    })

    t.test('a broker that never answers is unreachable', async (t) => {
      const broker = await scriptedBroker(t, () => {})

      await t.rejects(client(t, { url: broker.url, requestTimeout: 100 }).get('7'), { name: 'BrokerUnreachable', message: /no answer within 100 ms/ })
    })

    t.test('the broker says when to come back, and is not asked before', async (t) => {
      const away = aProblem(503, 'DATABASE_UNAVAILABLE')
      const broker = await scriptedBroker(t, { ...away, headers: { ...away.headers, 'retry-after': '1' } }, { body: { id: '7' } })
      const started = performance.now()

      await client(t, { url: broker.url }).get('7')

      t.ok(performance.now() - started >= 990)
    })

    t.test('a problem becomes a typed error with the code and the hint of the broker', async (t) => {
      const cases: [Reply, { name: string; [field: string]: unknown }][] = [
        [aProblem(404, 'RUN_NOT_FOUND'), { name: 'RunNotFound', code: 'RUN_NOT_FOUND', status: 404, message: 'detail of RUN_NOT_FOUND' }],
        [aProblem(401, 'UNAUTHORIZED', { hint: 'set REPROQ_TOKEN' }), { name: 'AccessDenied', code: 'UNAUTHORIZED', hint: 'set REPROQ_TOKEN' }],
        [aProblem(400, 'INVALID_REQUEST'), { name: 'HttpProblem', code: 'INVALID_REQUEST', title: 'Refused' }],
        [{ status: 502, body: '<h1>Bad gateway</h1>' }, { name: 'HttpProblem', code: 'UNEXPECTED_ANSWER', message: /answered 502 .*Bad gateway/ }],
        [{ status: 200, body: '<h1>Hello</h1>' }, { name: 'HttpProblem', code: 'UNEXPECTED_ANSWER', hint: /REPROQ_URL/ }],
      ]
      for (const [reply, expected] of cases) {
        const broker = await scriptedBroker(t, reply)
        await t.rejects(client(t, { url: broker.url, requestTimeout: 50 }).get('7'), expected)
      }
    })

    t.test('a broker may live below a path, and ids and filters are escaped', async (t) => {
      const broker = await scriptedBroker(t, { body: { runs: [], next_cursor: null } })
      const rq = client(t, { url: `${broker.url}/ops/queue/` })

      await rq.list({ queue: 'a&b', limit: 5 })
      await rq.cancel('7/../8')

      t.match(broker.requests, [
        { method: 'GET', path: '/ops/queue/v1/runs?queue=a%26b&limit=5' },
        { method: 'POST', path: '/ops/queue/v1/runs/7%2F..%2F8/cancel' },
      ])
    })
  })
}

t.test('any number of waits does not hold up an enqueue', async (t) => {
  const broker = await scriptedBroker(t, (response, { method }) => {
    if (method === 'POST') response.writeHead(201).end('{"id":"7","deduplicated":false}')
  })
  const rq = new Reproq({ url: broker.url })
  const leaving = new AbortController()
  const waits = Array.from({ length: 100 }, () => rq.handle('7').result({ signal: leaving.signal }))
  await broker.received(100)

  t.equal((await rq.enqueue(tick)).id, '7')

  leaving.abort(new Error('enough'))
  t.ok((await Promise.allSettled(waits)).every(({ status }) => status === 'rejected'))
  await rq.close()
})

t.test('a URL that is none is refused', async (t) => {
  for (const url of ['localhost:4700', 'ftp://host', 'nonsense']) t.throws(() => new Reproq({ url }), { name: 'InvalidOption', message: new RegExp(url) })
})

t.test('address and token come from the environment, and an idle client lets its process end', async (t) => {
  const broker = await scriptedBroker(t, created)
  const script = `const { Reproq } = await import(${JSON.stringify(new URL('./index.js', import.meta.url).href)}); await new Reproq().enqueue('tick')`

  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    env: { ...process.env, REPROQ_URL: broker.url, REPROQ_TOKEN: 'from the environment' },
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  await broker.received(1)
  const answeredAt = performance.now()
  const [code] = await once(child, 'exit')

  t.equal(code, 0)
  t.match(broker.requests, [{ headers: { authorization: 'Bearer from the environment' } }])
  // A connection that held the process would do so until its keep-alive ends, after 4 seconds.
  t.ok(performance.now() - answeredAt < 3_000)
})

function echoBulk(response: Parameters<Extract<Reply, (...args: never) => void>>[0], { body }: { body: unknown }) {
  const { runs } = body as { runs: { args: unknown[] }[] }
  response.writeHead(201).end(JSON.stringify({ runs: runs.map(({ args }) => ({ id: `id of ${String(args[0])}`, deduplicated: false })) }))
}
