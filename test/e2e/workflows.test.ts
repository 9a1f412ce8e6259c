import t, { type Test } from 'tap'
import { InProcessExecutor } from '../../executor-shims/worker/src/in-process.js'
import { Worker } from '../../executor-shims/worker/src/worker.js'
import { defineTask, remoteTask, step, type TaskContext } from '../../sdk-ts/src/index.js'
import { misled } from '../helpers/given-workflow.js'
import { testBroker, type TestBroker } from '../helpers/broker.js'
import { reproq as command, reproqJson } from '../helpers/cli.js'
import { testDatabase } from '../helpers/database.js'
import { until } from '../helpers/wait.js'
import { PYTHON_TASKS, workerProcess } from '../helpers/worker.js'

const fetchPage = defineTask({ name: 'wf.fetch', run: ({ input }: TaskContext<number>) => ({ words: input * 10 }) })
const countAll = defineTask({
  name: 'wf.count',
  run: (context: TaskContext<void>) => Object.values(context.parents).reduce((sum, parent) => sum + (parent.output as { words: number }).words, 0),
})
const double = defineTask({ name: 'wf.double', run: (context: TaskContext<void>) => 2 * (Object.values(context.parents)[0]?.output as number) })
const typed = defineTask({ name: 'wf.typed', run: (context: TaskContext<void>) => context.parent<typeof fetchPage>('page').output.words + 1 })
const broken = defineTask({
  name: 'wf.broken',
  retry: { attempts: 1 },
  run(_: TaskContext<void>) {
    throw new TypeError('no such page')
  },
})
const alarm = defineTask({ name: 'wf.alarm', run: (context: TaskContext<void>) => Object.entries(context.parents).map(([name, { status, error }]) => `${name} ${status} ${error ?? ''}`.trim()) })
const large = defineTask({ name: 'wf.large', run: (_: TaskContext<void>) => 'x'.repeat(600) })
const forgotten = defineTask({ name: 'wf.forgotten', run: (context: TaskContext<void>) => context.parent('nobody').output })
const blind = defineTask({ name: 'wf.blind', run: (_: TaskContext<void>) => 'did not look' })
const forever = defineTask({ name: 'wf.forever', run: ({ signal }: TaskContext<void>) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))) })
const faults = { left: 0 }
const flaky = defineTask({
  name: 'wf.flaky',
  retry: { attempts: 1 },
  run({ input }: TaskContext<number>) {
    if (faults.left-- > 0) throw new Error('not yet')
    return { words: input * 10 }
  },
})
const TASKS = [flaky, fetchPage, countAll, double, typed, broken, alarm, large, forgotten, blind, forever]

async function given(t: Test, overrides: Parameters<typeof testBroker>[1] = {}): Promise<TestBroker> {
  const one = await testBroker(t, { lookMs: 60_000, ...overrides })
  const worker = new Worker({ url: one.url, token: one.token, concurrency: 8, executors: [new InProcessExecutor(TASKS)], log: { debug() {}, info() {}, warn() {}, error() {} } })
  await worker.start()
  t.teardown(() => worker.stop())
  return one
}

t.test('chain, group, chord and graph: each run finds what those before it returned', async (t) => {
  const { reproq, database } = await given(t)
  const chain = await reproq.chain([step(fetchPage, 4), step(countAll), step(double)])
  t.equal(await chain.result({ timeout: '10s' }), 80)
  const [one, two] = await (await reproq.group([step(fetchPage, 1), step(fetchPage, 2)])).result({ timeout: '10s' })
  t.strictSame([one.words, two.words], [10, 20])
  const chord = await reproq.chord([1, 2, 3].map((page) => step(fetchPage, page)), step(countAll), { name: 'count' })
  t.equal(await chord.result({ timeout: '10s' }), 60)
  const empty = await reproq.chord([], step(countAll))
  t.equal(await empty.result({ timeout: '10s' }), 0, 'a callback that waits for nothing')

  const graph = await reproq.workflow({ total: step(typed, undefined, { after: ['page'] }), page: step(fetchPage, 5), both: step(alarm, undefined, { after: ['page', 'total'] }) })
  const outputs = await graph.result({ timeout: '10s' })
  t.strictSame(outputs, { total: 51, page: { words: 50 }, both: ['page SUCCESSFUL', 'total SUCCESSFUL'] })
  t.match(await graph.get(), { status: 'SUCCESSFUL', total: 3, succeeded: 3, runs: [{ name: 'page', after: [] }, { name: 'total', after: [graph.run('page').id] }, { name: 'both', status: 'SUCCESSFUL', when: 'success' }] })
  await until('every note is worked off', async () => (await misled(database.pool)).length === 0)
  const listed = await reproq.workflows.list({ status: 'SUCCESSFUL' })
  t.match(listed.workflows, [{ id: graph.id }, { id: empty.id, total: 1 }, { id: chord.id, name: 'count', total: 4, succeeded: 4 }, { total: 2 }, { total: 3 }])
  t.strictSame((await reproq.workflows.list({ status: 'FAILED' })).workflows, [])
})

t.test('a failure ends what depends on it, says why, and calls the one who wants to know', async (t) => {
  const { reproq } = await given(t)
  const chain = await reproq.chain([step(fetchPage, 1), step(broken), step(double), step(blind, undefined, { when: 'always' })], { onFailure: step(alarm) })
  t.equal(await chain.result({ timeout: '10s' }), 'did not look')
  await t.rejects(chain.run('3').result({ timeout: '10s' }), { name: 'TaskFailed', message: /WorkflowFailed: Run \d+, which it waited for, failed: TypeError: no such page/ })
  const [first, second, third] = ['1', '2', '3'].map((name) => chain.run(name).id)
  t.strictSame(await chain.run('on_failure').result({ timeout: '10s' }), [
    '1 SUCCESSFUL',
    '2 FAILED TypeError: no such page',
    `3 FAILED workflow_failed: Run ${second}, which it waited for, failed: TypeError: no such page`,
    '4 SUCCESSFUL',
  ])
  t.ok(first && third)
  t.match(await chain.get(), { status: 'FAILED', failed: 2, skipped: 0 })
  const quiet = await reproq.chain([step(fetchPage, 1)], { onFailure: step(alarm) })
  await quiet.result({ timeout: '10s' })
  await t.rejects(quiet.run('on_failure').result({ timeout: '10s' }), { name: 'TaskCancelled' })
  t.match(await quiet.get(), { status: 'SUCCESSFUL', succeeded: 1, skipped: 1 })
})

t.test('results that are too large fail who asks for them, with the reason and the setting, and nobody else', async (t) => {
  const { reproq } = await given(t, { parentsBytes: 1_000 })
  const asked = await reproq.chord([step(large), step(large)], step(alarm))
  await t.rejects(asked.result({ timeout: '10s' }), { name: 'TaskFailed', message: /after 1 of 3 attempts: ParentsUnavailable: .*2 parents take at least \d+ bytes together; the limit is 1000 \(REPROQ_PARENTS_BYTES\)/ })
  t.equal(await (await reproq.chord([step(large), step(large)], step(blind))).result({ timeout: '10s' }), 'did not look')
  await t.rejects((await reproq.chain([step(large), step(forgotten)])).result({ timeout: '10s' }), { message: /none of them is named "nobody"; there are: 1/ })
})

t.test('what ended while no broker was there moves on when one starts; a lost notification costs a look', async (t) => {
  const database = await testDatabase(t)
  const made = await database.pool.query<{ runs: Record<string, string> }>(`SELECT runs FROM reproq_enqueue_workflow('[{"name": "a", "task": "t"}, {"name": "b", "task": "t", "after": ["a"]}, {"name": "c", "task": "t", "after": ["b"]}]')`)
  const { a, b, c } = made.rows[0]?.runs as { a: string; b: string; c: string }
  const end = (id: string) => database.pool.query(`UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id = $1`, [id])
  await end(a)
  const { reproq } = await testBroker(t, { lookMs: 300 }, database)
  await until('it is moved', async () => (await reproq.get(b)).status === 'READY')
  t.match(await reproq.get(b), { node: 'b', workflow_id: /^[0-9a-f-]{36}$/ })
  // The note of this one is written, and nobody is told.
  await database.pool.query(`BEGIN; SET LOCAL reproq.advancing TO 'on'; UPDATE task_runs SET status = 'SUCCESSFUL' WHERE result_id = ${b}; COMMIT`)
  await until('the look finds it', async () => (await reproq.get(c)).status === 'READY')
})

t.test('together with their own payload, parents stay within a frame', async (t) => {
  const { reproq } = await given(t, { frameBytes: 8_000, payloadBytes: 1_000 })
  const chord = await reproq.chord(Array.from({ length: 10 }, () => step(large)), step(alarm))
  await t.rejects(chord.result({ timeout: '10s' }), { message: /ParentsUnavailable: .*the run takes \d+ bytes on its way to a worker; the limit is 8000 \(REPROQ_FRAME_BYTES\)/ })
  t.equal((await (await reproq.chord([step(large), step(large)], step(alarm))).result({ timeout: '10s' })).length, 2)
})

t.test('what failed is tried again as a whole, and goes on in order', async (t) => {
  const { reproq } = await given(t)
  faults.left = 1
  const chain = await reproq.chain([step(flaky, 3), step(countAll), step(double)])
  await t.rejects(chain.result({ timeout: '10s' }), { name: 'TaskFailed' })
  await until('all have failed', async () => (await chain.get()).failed === 3)
  await reproq.retry(Object.values(chain.runs).map(({ id }) => id).toReversed())
  await until('it succeeds', async () => (await chain.get()).status === 'SUCCESSFUL')
  t.equal(await chain.result(), 60)
})

t.test('a cancelled workflow ends: what waits will not start, what runs is told', async (t) => {
  const { reproq } = await given(t)
  const chain = await reproq.chain([step(forever), step(double), step(blind, undefined, { when: 'always' })])
  await until('the first run runs', async () => (await chain.run('1').get()).status === 'RUNNING')
  t.strictSame(await chain.cancel(), { cancelled: 2, cancelling: 1 })
  await until('all have ended', async () => (await chain.get()).status === 'CANCELLED')
  t.strictSame(await chain.cancel(), { cancelled: 0, cancelling: 0 })
  await t.rejects(reproq.workflows.cancel('00000000-0000-4000-8000-000000000000'), { name: 'WorkflowNotFound', code: 'WORKFLOW_NOT_FOUND' })
})

t.test('in a transaction of your own it exists when that commits; a key makes one workflow of many', async (t) => {
  const { reproq, database } = await given(t)
  const client = await database.pool.connect()
  await client.query('BEGIN')
  const never = await reproq.chain([step(fetchPage, 1), step(countAll)], { tx: client })
  await client.query('ROLLBACK')
  await t.rejects(never.get(), { name: 'WorkflowNotFound' })
  await client.query('BEGIN')
  const chain = await reproq.workflow({ b: step(countAll, undefined, { after: ['a'] }), a: step(fetchPage, 7) }, { tx: client, name: 'mine' })
  await client.query('COMMIT')
  client.release()
  t.match(await chain.result({ timeout: '10s' }), { b: 70 })
  t.match(await chain.get(), { name: 'mine' })

  const twins = await Promise.all(Array.from({ length: 5 }, () => reproq.chain([step(fetchPage, 1), step(countAll)], { idempotencyKey: 'once' })))
  t.equal(new Set(twins.map(({ id }) => id)).size, 1)
  t.equal(twins.filter(({ deduplicated }) => !deduplicated).length, 1)
  t.equal(await twins[4]?.result({ timeout: '10s' }), 10)
})

t.test('reproq workflows lists them, shows one with its runs, and cancels it', async (t) => {
  t.testdir({})
  const { reproq, url, token } = await given(t)
  const env = { REPROQ_URL: url, REPROQ_TOKEN: token }
  const chain = await reproq.chain([step(forever), step(double)], { name: 'nightly' })
  const done = await reproq.chain([step(fetchPage, 1)])
  await done.result({ timeout: '10s' })
  await until('it is counted', async () => (await reproq.workflows.list({ status: 'SUCCESSFUL' })).workflows.length === 1)
  const table = await command(t, ['workflows', 'list'], { env })
  t.match(table, { code: 0, stderr: '', stdout: /^ID +NAME +STATUS +CREATED +DONE +FAILED\n\S+ +- +SUCCESSFUL .* 1\/1 +0\n\S+ +nightly +RUNNING .* 0\/2 +0\n$/ })
  t.equal((await command(t, ['workflows', 'list', '--status', 'RUNNING', '-o', 'id'], { env })).stdout, `${chain.id}\n`)
  const one = (await command(t, ['workflows', 'get', chain.id], { env })).stdout
  t.match(one, /^id +\S+\nname +nightly\nstatus +RUNNING\n/)
  t.match(one, new RegExp(`\n${chain.run('2').id} +2 +wf\\.double +WAITING +success +${chain.run('1').id} `))
  t.match(await reproqJson(t, ['workflows', 'get', chain.id], { env }), { id: chain.id, total: 2, runs: [{ name: '1' }, { name: '2', status: 'WAITING' }] })
  await until('the first run runs', async () => (await chain.run('1').get()).status === 'RUNNING')
  t.match(await reproqJson(t, ['workflows', 'cancel', chain.id], { env }), { id: chain.id, cancelled: 1, cancelling: 1 })
  t.match(await command(t, ['workflows', 'get', '00000000-0000-4000-8000-000000000000'], { env }), { code: 3, stdout: '', stderr: /WORKFLOW_NOT_FOUND/ })
  t.match(await command(t, ['workflows', 'list', '--limit', '0'], { env }), { code: 2, stderr: /whole number from 1 to 1000/ })
})

t.test('a graph that cannot be is refused, and says what is wrong', async (t) => {
  const { reproq, url, token } = await given(t, { workflowNodes: 3 })
  const refused = async (nodes: unknown) => {
    const response = await fetch(`${url}/v1/workflows`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body: JSON.stringify({ nodes }) })
    return `${response.status} ${((await response.json()) as { detail: string }).detail}`
  }
  t.equal(await refused([{ name: 'a', task: 't', after: ['b'] }, { name: 'b', task: 't', after: ['a'] }]), '400 These nodes wait for each other, so none could ever run: "a" → "b" → "a"')
  t.equal(await refused([{ name: 'a', task: 't', after: ['x'] }]), '400 Node "a" comes after "x", and no node is named that')
  t.equal(await refused(['a', 'b', 'c', 'd'].map((name) => ({ name, task: 't' }))), '400 The workflow has 4 nodes; the limit is 3 (REPROQ_WORKFLOW_NODES)')
  t.match(await refused([{ name: 'a', task: 't', idempotency_key: 'k' }]), /^400 .*idempotency_key/)
  t.match(await refused([{ name: 'a\0', task: 't' }]), /^422 The name "a\\u0000" cannot be stored/)
  t.match(await refused([{ name: 'a', task: 't', input: 1, args: [1] }]), /^400 Node "a" has both input and args/)
  await t.rejects(reproq.workflow({ a: step(blind, undefined, { after: ['b'] }), b: step(blind, undefined, { after: ['a'] }) }), { name: 'InvalidOption', message: /wait for each other.*"a", "b"/ })
  await t.rejects(reproq.workflow({ a: step(blind, undefined, { after: ['b'] }) }), { message: 'Step "a" comes after "b", and no step is named that' })
  await t.rejects(reproq.group([]), { message: 'A workflow needs at least one step' })
})

t.test('keys of a node hold for it: its run is asked for one by one when its turn has come', async (t) => {
  const { reproq } = await given(t)
  const chord = await reproq.chord([1, 2, 3, 4].map((page) => step(fetchPage, page, { lockKey: 'one' })), step(countAll, undefined, { lockKey: 'one', rate: { key: 'r', limit: 100, per: '1s' } }))
  t.equal(await chord.result({ timeout: '10s' }), 100)
  t.match(await chord.run('callback').get(), { lock_key: 'one', rate_key: 'r' })
})

for (const mode of ['one-shot', 'loop', 'zygote']) {
  t.test(`a Python task finds what TypeScript and Python tasks before it returned (${mode})`, async (t) => {
    const { reproq, url, token } = await given(t)
    await workerProcess(t, { urls: url, token, name: `python-${mode}`, queues: ['python'], tasks: { pythonMode: mode }, env: { PYTHONPATH: PYTHON_TASKS } })
    const python = (name: string) => remoteTask<{ args?: unknown[] }, number>(`fault_tasks.${name}`, { queue: 'python' })
    const graph = await reproq.workflow({
      page: step(fetchPage, 2),
      typed: step(typed, undefined, { after: ['page'] }),
      added: step(python('add'), { args: [1.5, 2] }),
      sum: step(python('sum_of_parents'), {}, { after: ['typed', 'added'] }),
      doubled: step(double, undefined, { after: ['sum'] }),
    })
    t.match(await graph.result({ timeout: '30s' }), { typed: 21, added: 3.5, sum: 24.5, doubled: 49 })
  })
}
