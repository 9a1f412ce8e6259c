import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { Assignment, Executor } from './executor.js'
import { OneShotExecutor, type OneShotOptions } from './one-shot.js'

/** The Python half of this repository, from the sources as from the build. */
export const pythonHome = join(repository(dirname(fileURLToPath(import.meta.url))), 'executor-shims/python')

/** The interpreter behind `python3`, so that version managers start once and not for every run; undefined without one. */
export const python = interpreter()
export const withoutPython = python === undefined ? { skip: 'no python3 on PATH' } : {}

export interface Given<E extends Executor = OneShotExecutor> {
  executor: E
  /** Runs a task of fault_tasks.py. */
  run(task: string, args?: unknown[], signal?: AbortSignal, more?: Partial<Assignment>): ReturnType<Executor['execute']>
  log: { stdout: string; stderr: string }
  /** Resolves when the log holds the text. */
  said(text: string): Promise<void>
}

export function given(t: Test, options: Partial<OneShotOptions> = {}): Given {
  return givenExecutor(t, (common) => new OneShotExecutor({ ...common, ...options, extraEnv: { ...common.extraEnv, ...options.extraEnv } }))
}

type Common = Required<Pick<OneShotOptions, 'name' | 'command' | 'allow' | 'cwd' | 'onLog' | 'extraEnv'>>

/** An executor whose processes carry a mark: when the test ends and it is stopped, none of them may be left. */
export function givenExecutor<E extends Executor>(t: Test, make: (common: Common) => E): Given<E> {
  const mark = `REPROQ_TEST_MARK=${randomUUID()}`
  const log = { stdout: '', stderr: '' }
  const listeners = new Set<() => void>()
  const executor = make({
    name: 'python',
    command: [python ?? 'python3', '-m', 'reproq_executor'],
    allow: ['*'],
    cwd: join(pythonHome, 'tests'),
    onLog: (_assignment, stream, text) => {
      log[stream] += text
      for (const listener of listeners) listener()
    },
    extraEnv: { PYTHONPATH: pythonHome, REPROQ_TEST_MARK: mark.slice(17) },
  })
  t.teardown(async () => {
    // One-shot processes have to be gone by themselves; warm ones are there until they are stopped.
    const early = executor instanceof OneShotExecutor ? await remaining(mark) : []
    await executor.stop()
    const left = [...early, ...(await remaining(mark))]
    // Thrown, because tap takes no assertions in a teardown.
    if (left.length > 0) throw new Error(`The processes ${left.join()} were left behind by: ${t.name}`)
  })
  return {
    executor,
    log,
    run: (task, args = [], signal = new AbortController().signal, more = {}) => executor.execute({ ...assignment(`fault_tasks.${task}`, args), ...more }, signal),
    said: (text) =>
      new Promise((resolve) => {
        const look = () => (log.stdout + log.stderr).includes(text) && resolve()
        listeners.add(look)
        look()
      }),
  }
}

export function assignment(task: string, args: unknown[] = []): Assignment {
  return {
    lease: randomUUID(),
    run: '9007199254740993',
    task,
    queue: 'default',
    attempt: 1,
    max_attempts: 3,
    timeout_ms: 60_000,
    cancel_grace_ms: 30_000,
    spec: JSON.stringify({ v: 1, task_path: task, args, kwargs: {}, takes_context: false, queue_name: 'default' }),
  }
}

/** Processes that still carry the mark. The kernel may need a moment to take killed ones away, never a second. */
async function remaining(mark: string): Promise<string[]> {
  let left = marked(mark)
  for (let i = 0; i < 50 && left.length > 0; i++) {
    await sleep(20)
    left = marked(mark)
  }
  return left
}

export function marked(mark: string): string[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && readable(`/proc/${pid}/environ`).includes(mark))
}

function readable(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

function interpreter(): string | undefined {
  try {
    return execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim()
  } catch {
    return undefined
  }
}

function repository(from: string): string {
  return existsSync(join(from, 'executor-shims/python/pyproject.toml')) ? from : repository(dirname(from))
}
