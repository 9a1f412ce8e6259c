import t from 'tap'
import { remoteTask, type LogEntry, type RunEvent } from '../../sdk-ts/src/index.js'
import { testBroker } from '../helpers/broker.js'
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
