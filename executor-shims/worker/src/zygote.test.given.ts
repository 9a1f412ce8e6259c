import type { Test } from 'tap'
import { givenExecutor, python, type Given } from './one-shot.test.given.js'
import { ZygoteExecutor, type ZygoteExecutorOptions } from './zygote.js'

/** An executor that forks a process for each run of a task of fault_tasks.py. */
export function givenZygote(t: Test, options: Partial<ZygoteExecutorOptions> = {}, ...flags: string[]): Given<ZygoteExecutor> {
  const command = [python ?? 'python3', '-m', 'reproq_executor', '--zygote', ...flags]
  return givenExecutor(t, (common) => new ZygoteExecutor({ ...common, command, ...options, extraEnv: { ...common.extraEnv, ...options.extraEnv } }))
}
