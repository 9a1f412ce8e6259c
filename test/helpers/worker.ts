import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { MAIN } from './broker.js'
import { until } from './wait.js'

export const LEDGER_TASKS = fileURLToPath(new URL('ledger-tasks.js', import.meta.url))
export const PYTHON_TASKS = fileURLToPath(new URL('../../../executor-shims/python/tests', import.meta.url))

export interface WorkerOptions {
  urls: string | readonly string[]
  token: string
  name: string
  concurrency?: number
  window?: number
  queues?: readonly string[]
  drainMs?: number
  /** `ledger`: the TypeScript tasks of ledger-tasks.ts. `python`: what lies beside the Python executor's tests. Or a program. */
  tasks?: 'ledger' | 'python' | { pythonMode: string } | { executor: string }
  env?: Record<string, string>
}

export interface WorkerProcess {
  child: ChildProcess
  pid: number
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** What it said, as JSON objects, oldest first. */
  said: Record<string, unknown>[]
  /** What it said as text, for messages. */
  log(): string
  kill(signal: NodeJS.Signals): void
  /** How often it was connected. */
  connections(): number
  /** Whether it says that code of this run has ended. */
  settled(run: string): boolean
}

/** `reproq worker` in a process of its own, to be killed. Resolves when a broker has welcomed it. */
export async function workerProcess(t: Test, options: WorkerOptions): Promise<WorkerProcess> {
  const child = spawn(process.execPath, [MAIN, 'worker', ...flagsOf(options)], {
    env: { ...process.env, REPROQ_TOKEN: options.token, PYTHONPATH: PYTHON_TASKS, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit').then(([code, signal]) => ({ code: code as number | null, signal: signal as NodeJS.Signals | null }))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const said: Record<string, unknown>[] = []
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream as NodeJS.ReadableStream }).on('line', (line) => {
      text += `${line}\n`
      if (line.startsWith('{')) said.push(JSON.parse(line) as Record<string, unknown>)
    })
  }
  const worker: WorkerProcess = {
    child,
    pid: child.pid as number,
    exited,
    said,
    log: () => text,
    kill: (signal) => void child.kill(signal),
    connections: () => said.filter(({ event }) => event === 'connected').length,
    settled: (run) => said.some(({ event, runId }) => event === 'run.settled' && runId === run),
  }
  await until(`the worker ${options.name} is welcomed`, () => {
    if (child.exitCode !== null) throw new Error(`The worker ended before it was welcomed:\n${text}`)
    return worker.connections() > 0
  }, 20_000)
  return worker
}

function flagsOf({ urls, name, concurrency = 4, window, queues = ['default'], drainMs, tasks = 'ledger' }: WorkerOptions): string[] {
  const others = ['--allow-tasks', '*', '--env', 'REPROQ_TEST_*']
  const code = tasks === 'ledger' ? ['--tasks', LEDGER_TASKS] : [...programOf(tasks), ...others]
  return [
    ...['--url', [urls].flat().join(','), '--name', name, '--queues', queues.join(','), '--concurrency', String(concurrency), '--json'],
    ...(window === undefined ? [] : ['--window', String(window)]),
    ...(drainMs === undefined ? [] : ['--drain-ms', String(drainMs)]),
    ...code,
  ]
}

function programOf(tasks: Exclude<WorkerOptions['tasks'], 'ledger' | undefined>): string[] {
  if (tasks === 'python') return ['--python', 'python3']
  return 'executor' in tasks ? ['--executor', tasks.executor] : ['--python', 'python3', '--python-mode', tasks.pythonMode]
}
