import { join } from 'node:path'
import type { Test } from 'tap'
import { LoopExecutor, type LoopExecutorOptions } from './loop.js'
import { givenExecutor, python, pythonHome, type Given } from './one-shot.test.given.js'

/** A warm Python executor with one process, which runs tasks of fault_tasks.py. */
export function givenLoop(t: Test, options: Partial<LoopExecutorOptions> = {}): Given<LoopExecutor> {
  const command = [python ?? 'python3', '-m', 'reproq_executor', '--loop']
  return givenExecutor(t, (common) => new LoopExecutor({ ...common, command, processes: 1, ...options, extraEnv: { ...common.extraEnv, ...options.extraEnv } }))
}

/** One of the ill-mannered executors of raw_loop.py. */
export function givenRaw(t: Test, manner: string, options: Partial<LoopExecutorOptions> = {}, ...args: string[]): Given<LoopExecutor> {
  return givenLoop(t, { command: [python ?? 'python3', join(pythonHome, 'tests/raw_loop.py'), manner, ...args], ...options })
}
