import type { Command } from 'commander'
import { setTimeout as delay } from 'node:timers/promises'
import type { Reproq } from '../../../sdk-ts/src/index.js'
import { addBrokerOptions, brokerOf, type BrokerOptions } from './broker-access.js'
import { explain, paint } from './explain.js'
import { at, tableOf, write } from './output.js'
import { Screen } from './screen.js'

const EVERY_MS = 1_000
const RUNS = 15

/** `reproq top`: queues, workers and the newest runs, until q. Without a terminal they are printed once. */
export function registerTop(program: Command): void {
  addBrokerOptions(program.command('top'))
    .description('Queues, workers, and the newest runs, live; q or Ctrl-C ends it. Without a terminal they are printed once.')
    .addHelpText('after', '\nExamples:\n  reproq top\n  reproq top --url https://broker.example.com | cat')
    .action(async (options: BrokerOptions) => {
      const reproq = brokerOf(options)
      // Before the screen is taken: what is wrong with the broker is said as always.
      const first = await snapshot(reproq)
      if (process.stdout.isTTY) await live(reproq, first)
      else write(first)
    })
}

async function live(reproq: Reproq, first: string): Promise<never> {
  const quit = new AbortController()
  const screen = new Screen()
  screen.open(() => quit.abort())
  for (let text = first; !quit.signal.aborted; ) {
    screen.show(`${paint('bold', 'reproq top', process.stdout)}   q quits\n\n${text}`)
    await delay(EVERY_MS, undefined, { signal: quit.signal }).catch(() => undefined)
    // A broker that is gone may come back.
    const next = snapshot(reproq).catch((error: unknown) => explain(error))
    text = await Promise.race([next, new Promise<string>((resolve) => quit.signal.addEventListener('abort', () => resolve('')))])
  }
  screen.close()
  process.exit(0)
}

async function snapshot(reproq: Reproq): Promise<string> {
  const [queues, workers, tasks, { runs }] = await Promise.all([reproq.queues.list(), reproq.workers.list(), reproq.tasks.list(), reproq.list({ limit: RUNS })])
  const failed = tasks.filter((task) => task.failed > 0)
  const tables = await Promise.all([
    tableOf(queues, { queue: (row) => row.name, ready: (row) => row.ready, running: (row) => row.running, scheduled: (row) => row.scheduled, blocked: (row) => row.blocked, oldest: (row) => at(row.oldest_ready_at), workers: (row) => row.workers, paused: (row) => (row.paused ? 'yes' : '') }),
    tableOf(workers, { worker: (row) => row.name, queues: (row) => row.queues.join(' '), running: (row) => `${row.running}/${row.concurrency ?? '?'}`, seen: (row) => at(row.last_seen_at) }),
    failed.length > 0 ? tableOf(failed, { task: (row) => row.name, failed: (row) => row.failed, of: (row) => row.runs }) : '',
    tableOf(runs, { run: (row) => row.id, task: (row) => row.task, queue: (row) => row.queue, status: (row) => row.status, attempts: (row) => row.attempts, enqueued: (row) => at(row.enqueued_at) }),
  ])
  return tables.filter((table) => table !== '').join('\n')
}
