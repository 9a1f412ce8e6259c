import t from 'tap'
import { givenDatabase, rowOf } from '../../../test/helpers/given.js'
import { givenWorkflow, node } from '../../../test/helpers/given-workflow.js'

t.test('a key that has a workflow is answered with it, and nothing is made', async (t) => {
  const { db, others } = await givenDatabase(t)
  const make = () => givenWorkflow(db, [node('a'), node('b', ['a'])], { idempotency_key: 'once' })
  const made = async () => {
    const { rows } = await others.query(`SELECT (SELECT last_value FROM pg_sequences WHERE sequencename = 'task_runs_result_id_seq') AS runs, (SELECT count(*) FROM reproq_workflows) AS workflows`)
    return rows[0] as unknown
  }
  const first = await make()
  const before = await made()
  t.match(await make(), { id: first.id, runs: first.runs, deduplicated: true })
  t.strictSame(await made(), before)
  t.equal(first.deduplicated, false)
})

t.test('instants of a node may have any offset that the format allows', async (t) => {
  const { db, others } = await givenDatabase(t)
  const { ids } = await givenWorkflow(db, [{ ...node('a'), expires_at: '2030-01-02T00:00:00+23:00' }, { ...node('b'), run_after: '2030-01-01T00:00:00-23:00' }])
  t.strictSame((await rowOf(others, ids.a as string)).expires_at, new Date('2030-01-01T01:00:00Z'))
  t.strictSame((await rowOf(others, ids.b as string)).run_after, new Date('2030-01-01T23:00:00Z'))
})

t.test('reproq_enqueue_workflow refuses what REST refuses, and says which node, what it has, and what it takes', async (t) => {
  const { others } = await givenDatabase(t)
  const call = (nodes: unknown) => others.query<{ runs: Record<string, string> }>('SELECT * FROM reproq_enqueue_workflow($1)', [JSON.stringify(nodes)])
  const fields = /^A node has a name, a task, and: input or args/
  const graph = /^Give each node a name of its own/
  const rate = { key: 'k', limit: 1, per_ms: 1_000 }
  const alone: [fields: object, message: string, hint?: RegExp][] = [
    [{ priority: 32_768 }, 'node "b" has the priority 32768; it is an integer from -32768 to 32767'],
    ...[-32_769, 1.5, '"high"', [1]].map((priority): [object, string] => [{ priority }, `node "b" has the priority ${JSON.stringify(priority)}`]),
    [{ retry: { basems: 5 } }, 'node "b": retry takes no basems: 5', /^Its keys are base_ms, factor/],
    [{ retry: { delays_ms: [] } }, 'node "b": retry takes no delays_ms: []', /^Its keys are/],
    [{ retry: 5 }, 'node "b": retry takes no 5', /^Its keys are/],
    [{ max_attempts: 0 }, 'node "b" takes no max_attempts: 0; it is an integer from 1 to 1000', fields],
    [{ max_attempts: 3e9 }, 'node "b" takes no max_attempts: 3000000000; it is an integer from 1 to 1000'],
    [{ timeout_ms: 2_592_000_001 }, 'node "b" takes no timeout_ms: 2592000001; it is an integer from 1 to 2592000000'],
    [{ delay_ms: 315_360_000_001 }, 'node "b" takes no delay_ms'],
    [{ expires_in_ms: 1e300 }, 'node "b" takes no expires_in_ms'],
    [{ concurrency_key: 'c', concurrency_limit: 1_000_001 }, 'node "b" takes no concurrency_limit: 1000001'],
    [{ lock_key: 'k'.repeat(256) }, `node "b" takes no lock_key: "${'k'.repeat(99)}; it has from 1 to 255 characters`],
    [{ task: 't'.repeat(513) }, 'node "b" takes no task'],
    [{ retry: { cap_ms: 2_592_000_001 } }, 'node "b": retry takes no cap_ms: 2592000001', /30 days at most/],
    ...[{ factor: 101 }, { factor: '2' }, { delays_ms: Array<number>(101).fill(1) }, { delays_ms: [2_592_000_001] }, { non_retryable: Array<string>(101).fill('E') }].map((retry): [object, string] => [{ retry }, `node "b": retry takes no ${Object.keys(retry)[0]}`]),
    [{ timeout_ms: 0.5 }, 'node "b" takes no timeout_ms: 0.5', fields],
    [{ delay_ms: -1 }, 'node "b" takes no delay_ms: -1'],
    [{ queue: '' }, 'node "b" takes no queue: ""'],
    [{ lock_key: 7 }, 'node "b" takes no lock_key: 7'],
    [{ args: {} }, 'node "b" takes no args: {}'],
    [{ kwargs: [] }, 'node "b" takes no kwargs: []'],
    [{ after: 'a' }, 'node "b" takes no after: "a"'],
    [{ retries: 5 }, 'node "b" takes no retries: 5', fields],
    [{ when: 'never' }, 'node "b" has when: "never"; it takes success, always or failure'],
    ...[{ ...rate, limit: 0 }, { ...rate, key: '' }, { ...rate, per_ms: 0 }, { ...rate, burst: 0 }, { key: 'k' }, { ...rate, limit: 1_000_001 }, { ...rate, burst: 1_000_001 }, { ...rate, per_ms: 2_592_000_001 }, { ...rate, per_ms: 0.5 }, { ...rate, key: 'k'.repeat(252) }].map((wrong): [object, string, RegExp] => [{ rate: wrong }, 'node "b" has the rate {', /^For 100 starts a minute/]),
    [{ concurrency_key: 'c' }, 'node "b" has a concurrency_key or a concurrency_limit alone', fields],
    [{ concurrency_limit: 1 }, 'node "b" has a concurrency_key or a concurrency_limit alone'],
    [{ delay_ms: 1, run_after: '2030-01-01T00:00:00Z' }, 'node "b" has both run_after and delay_ms'],
    [{ expires_in_ms: 1, expires_at: '2030-01-01T00:00:00Z' }, 'node "b" has both expires_at and expires_in_ms'],
    [{ input: 1, args: [1] }, 'node "b" has both input and args or kwargs'],
    [{ after: ['c'] }, 'node "b" comes after "c", which does not stand before it', graph],
    [{ name: 'a' }, 'two nodes are named "a"', graph],
    [{ task: '' }, 'node 2 needs a name and a task', graph],
  ]
  for (const [wrong, message, hint = /./] of alone) {
    const refusal = await call([node('a'), { ...node('b'), ...wrong }]).then(() => undefined, (error: unknown) => error as { message: string })
    t.match(refusal, { code: '22023', hint }, JSON.stringify(wrong))
    t.ok(refusal?.message.startsWith(`reproq_enqueue_workflow: ${message}`), `${refusal?.message}`)
  }
  await t.rejects(others.query('SELECT * FROM reproq_enqueue_workflow($1, checked => NULL)', [JSON.stringify([{ ...node('a'), max_attempts: 0 }])]), { message: /takes no max_attempts: 0/ })
  await t.rejects(call([7]), { code: '22023', message: /node 1 needs a name and a task/ })
  await t.rejects(call([{ ...node('a'), priority: 40_000 }, { ...node('b'), retry: 1 }]), { message: /node "a" has the priority/ }, 'the first')
  t.strictSame((await others.query('SELECT FROM task_runs')).rows, [])

  const right = { queue: 'q', priority: -32_768, delay_ms: 0, max_attempts: 1, timeout_ms: 1, lock_key: 'l', concurrency_key: 'c', concurrency_limit: 1, rate: { ...rate, burst: null }, fair_key: 'f', expires_in_ms: 10_000, retry: { base_ms: 0, non_retryable: ['X'] }, when: 'always', input: [1] }
  const most = { max_attempts: 1_000, timeout_ms: 2_592_000_000, delay_ms: 315_360_000_000, concurrency_key: 'é'.repeat(255), concurrency_limit: 1_000_000, rate: { key: 'é'.repeat(251), limit: 1_000_000, per_ms: 2_592_000_000, burst: 1_000_000 } }
  await t.resolves(call([{ ...node('a'), ...most }]))
  // As other clients write integers.
  const points = `[{"name": "a", "task": "t", "priority": 2.0, "max_attempts": 2.0, "timeout_ms": 5000.0, "concurrency_key": "c", "concurrency_limit": 2.0, "rate": {"key": "k", "limit": 2.0, "per_ms": 1000.0}}]`
  const pointed = (await others.query<{ runs: { a: string } }>('SELECT runs FROM reproq_enqueue_workflow($1)', [points])).rows[0]?.runs.a as string
  t.match(await rowOf(others, pointed), { priority: 2, max_attempts: 2, timeout_seconds: 5, concurrency_limit: 2, reproq_rate_burst: 2, spec_json: { priority: 2, exec: { max_attempts: 2 } } })
  t.match((await others.query('SELECT spec_json::text AS spec FROM task_runs WHERE result_id = $1', [pointed])).rows, [{ spec: /"max_attempts": 2[,}]/ }])

  const nothing = Object.fromEntries([...Object.keys(right), 'args', 'kwargs', 'spec', 'after', 'run_after', 'expires_at'].map((name) => [name, null]))
  const { rows } = await call([{ ...node('a'), ...right }, { ...node('b'), ...nothing }])
  t.match(await rowOf(others, rows[0]?.runs.a as string), { queue_name: 'q', priority: -32_768, lock_key: 'l', reproq_rate_burst: 1, reproq_retry: { base_ms: 0 }, reproq_when: 'always' })
  t.match(await rowOf(others, rows[0]?.runs.b as string), { queue_name: 'default', priority: 0, reproq_retry: null, reproq_rate_key: null, reproq_when: null, expires_at: null, spec_json: { args: [], kwargs: {} } })
})
