import t from 'tap'
import type { EnqueueRequest } from '../../../protocol/src/index.js'
import { newRun } from './spec.js'
import { specHash } from './spec-hash.js'

const run = (request: EnqueueRequest) => newRun(request, JSON.stringify(request), 1_000_000)

t.test('the hash of a new run is the hash of its spec, whatever the request says', async (t) => {
  const requests: EnqueueRequest[] = [
    { task: 'a.b' },
    { task: 'a.b', input: { z: 1, a: [1e21, -0.5, 'é\u2028"\\'] } },
    { task: 'näme"\\.x', queue: 'mail\t"x"', priority: -3, max_attempts: 7, timeout_ms: 1_500 },
    { task: 'a.b', args: [1, [2, { b: 1, a: 2 }]], kwargs: { '10': 1, '9': 2, '\uffff': 3, '\u{10000}': 4 } },
    { task: 'a.b', run_after: '2026-01-02T03:04:05.678+02:00' },
    { task: 'a.b', run_after: '2026-01-02T03:04:05Z' },
    { task: 'a.b', lock_key: 'l"\u00e9', concurrency_key: 'c', concurrency_limit: 4 },
    { task: 'a.b', fair_key: 'f', rate: { key: 'r', limit: 1, per_ms: 1 }, expires_in_ms: 1 },
  ]
  for (const request of requests) {
    const { spec, specHash: hash } = run(request)
    t.equal(hash, specHash(spec), request.task)
  }
})

t.test('arguments keep every digit', async (t) => {
  const source = '{"task":"a.b","args":[12345678901234567890, 1.0],"kwargs":{"x":1e2}}'
  const { spec } = newRun(JSON.parse(source) as EnqueueRequest, source, 1_000_000)
  t.match(spec, '"args":[12345678901234567890, 1.0],"kwargs":{"x":1e2}')
})

t.test('run_after is written as Python writes it', async (t) => {
  t.match(run({ task: 'a', run_after: '2026-01-02T03:04:05Z' }).spec, '"run_after":"2026-01-02T03:04:05+00:00"')
  t.match(run({ task: 'a', run_after: '2026-01-02T03:04:05.678Z' }).spec, '"run_after":"2026-01-02T03:04:05.678000+00:00"')
})
