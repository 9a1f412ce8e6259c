import t from 'tap'
import { createWorker } from '../../executor-shims/worker/src/worker.js'
import { remoteTask, type LogEntry, type RunEvent } from '../../sdk-ts/src/index.js'
import { testBroker } from '../helpers/broker.js'
import { reproq as command } from '../helpers/cli.js'
import { chat } from '../helpers/ledger-tasks.js'
import { until } from '../helpers/wait.js'
import { workerProcess } from '../helpers/worker.js'

// What code says in every kind of executor, through real processes, sockets and Postgres.

const call = (task: string) => remoteTask<{ args: unknown[] }, unknown>(task)

async function all(entries: AsyncIterable<LogEntry>): Promise<LogEntry[]> {
  const found: LogEntry[] = []
  for await (const entry of entries) found.push(entry)
  return found
}

const joined = (entries: LogEntry[], stream: LogEntry['stream']) => entries.filter((entry) => entry.stream === stream).map(({ text }) => text).join('')

for (const mode of ['one-shot', 'loop', 'zygote']) {
  t.test(`Python (${mode}): prints are logs, live and whole; a checkpoint is given to the next attempt`, async (t) => {
    const { reproq, url, token } = await testBroker(t)
    await workerProcess(t, { urls: url, token, name: 'python', concurrency: 1, tasks: { pythonMode: mode } })

    const waiting = await reproq.enqueue(call('fault_tasks.wait'), { args: [] })
    for await (const { text } of waiting.logs({ follow: true })) if (text.includes('waiting')) break
    await waiting.cancel()

    const printing = await reproq.enqueue(call('fault_tasks.print_all'), { args: ['{"ok": true}', 'größer'] })
    t.equal(await printing.result({ timeout: '20s' }), 2)
    t.equal(joined(await all(printing.logs({ follow: true })), 'stdout'), '{"ok": true}\ngrößer\n', 'nothing is missing once the result is there')

    const child = await reproq.enqueue(call('fault_tasks.child_prints'), { args: [] })
    await child.result({ timeout: '20s' })
    t.match(joined(await all(child.logs({ follow: true })), 'stdout'), /\S/, 'of processes it starts too')

    const trying = await reproq.enqueue(call('fault_tasks.progress_and_fail'), { args: [10, 20] }, { maxAttempts: 2 })
    const events: RunEvent[] = []
    for await (const event of trying.events()) events.push(event)
    t.ok(events.some(({ progress }) => progress?.pct !== undefined), 'progress is heard')
    const next = await reproq.enqueue(call('fault_tasks.last_checkpoint'), { args: [] })
    t.equal(await next.result({ timeout: '20s' }), null, 'a checkpoint is of its run alone')
  })
}

t.test('a TypeScript handler: its log, its progress, and what it left for the next attempt', async (t) => {
  const { reproq, url, token } = await testBroker(t)
  await workerProcess(t, { urls: url, token, name: 'typescript', tasks: 'ledger', env: { REPROQ_TEST_LEDGER: `${t.testdir()}/ledger` } })
  const run = await reproq.enqueue(call('ledger.resume'), { args: [{}] })
  t.match(await run.result({ timeout: '20s' }), { attempt: 2, found: { rows: 7 } })
  const entries = await until('its lines are there', async () => {
    const found = await all(run.logs())
    return found.length === 2 && found
  })
  t.match(entries, [{ attempt: 1, stream: 'log', text: 'info began {"with":null}\n' }, { attempt: 2, stream: 'log', text: 'info began {"with":{"rows":7}}\n' }])

  const large = await reproq.enqueue(call('ledger.keep'), { args: [{ bytes: 300_000 }] }, { maxAttempts: 1 })
  const settled = await large.settled({ timeout: '20s' })
  t.match(settled.run.errors, [{ class: 'CheckpointTooLarge', message: /"ledger.keep" is 300002 bytes, the broker's limit is 262144/ }])
})

t.test('what TypeScript handlers write to console is output of their runs, at the same time and apart', async (t) => {
  t.testdir()
  const broker = await testBroker(t)
  const { reproq, url, token } = broker
  const worker = await workerProcess(t, { urls: url, token, name: 'typescript', concurrency: 2, tasks: 'ledger' })
  const names = ['Ada', 'Grace']
  const runs = await Promise.all(names.map((name) => reproq.enqueue(chat, { name, turns: 20 })))
  const heard = await Promise.all(runs.map((run) => all(run.logs({ follow: true }))))
  const expected = (name: string) => Array.from({ length: 20 }, (_, at) => `${name} says ${at + 1}\n`).join('')
  names.forEach((name, at) => {
    t.equal(joined(heard[at] as LogEntry[], 'stdout'), expected(name))
    t.equal(joined(heard[at] as LogEntry[], 'stderr'), `${name} is done\n`)
  })
  const { rows } = await broker.database.pool.query<{ logs_uri: string }>('SELECT logs_uri FROM task_runs ORDER BY result_id')
  for (const [at, { logs_uri: uri }] of rows.entries()) {
    t.equal(await (await fetch(uri)).text(), heard[at]?.map(({ text }) => text).join(''), 'and in a browser')
    t.same(await command(t, ['runs', 'logs', runs[at]?.id as string], { env: { REPROQ_URL: url, REPROQ_TOKEN: token } }), { code: 0, stdout: await (await fetch(uri)).text(), stderr: '' })
  }
  const ofWorker = worker.said.filter(({ event }) => event === 'run.output')
  t.equal(ofWorker.length, 42, 'the worker shows it as it shows that of other languages')
  t.match(ofWorker[0], { task: 'ledger.chat', stream: 'stdout', text: /says 1\n/ })
})

t.test('with the capture off, console is that of the worker', async (t) => {
  const { reproq, url, token } = await testBroker(t)
  const worker = await workerProcess(t, { urls: url, token, name: 'typescript', tasks: 'ledger', env: { REPROQ_CAPTURE_CONSOLE: 'off' } })
  const own = await createWorker({ url, token, tasks: [chat], queues: ['own'], captureConsole: false })
  t.teardown(() => own.stop())
  for (const queue of ['default', 'own']) {
    const run = await reproq.enqueue(chat, { name: queue, turns: 1 }, { queue })
    t.same(await all(run.logs({ follow: true })), [])
  }
  t.match(worker.log(), /^default says 1$/m)
})
