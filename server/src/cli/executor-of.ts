import { fileURLToPath } from 'node:url'
import { forQueues } from '../../../executor-shims/worker/src/for-queues.js'
import { LoopExecutor, OneShotExecutor, ZygoteExecutor, type Executor, type OneShotOptions } from '../../../executor-shims/worker/src/worker.js'
import { modeOf, type LocatedEntry } from './executors-file.js'
import { BUNDLED_MODULE, interpreterOf, pythonCommand, pythonEnvironment, type Mode } from './python.js'

const NODE_SHIM = fileURLToPath(new URL('../../../executor-shims/node/shim.js', import.meta.url))

/** What an executor says beside its runs, and how many of those there may be at a time. */
export interface Surroundings {
  onLog: NonNullable<OneShotOptions['onLog']>
  onOutput: (text: string) => void
  concurrency: number
}

export interface Described {
  executor: Executor
  /** One line for people. */
  description: string
}

export function executorOf(entry: LocatedEntry, { concurrency, ...surroundings }: Surroundings): Described {
  const { name, match = {}, cwd, env = [], setEnv = {}, limits = {}, payloadMode } = entry
  const { mode, command, extraEnv, allow } = programOf(entry)
  const common = { name, command, cwd, allow, env, extraEnv: { ...extraEnv, ...setEnv }, ...limits, ...surroundings }
  const executor =
    mode === 'loop'
      ? new LoopExecutor({ processes: concurrency, ...common })
      : new (mode === 'zygote' ? ZygoteExecutor : OneShotExecutor)({ ...common, ...(payloadMode && { payloadMode }) })
  const queues = match.queues ? `, queues ${match.queues.join(' ')}` : ''
  return { executor: match.queues ? forQueues(executor, match.queues) : executor, description: `${name} (${mode}${queues}): ${command.join(' ')}` }
}

interface Program {
  mode: Mode
  command: readonly string[]
  extraEnv: Record<string, string>
  allow: readonly string[]
}

function programOf(entry: LocatedEntry): Program {
  const { command, python, node, module = BUNDLED_MODULE, preload, match, cwd } = entry
  const mode = modeOf(entry)
  const allow = match?.tasks ?? []
  if (command) return { mode, command, extraEnv: {}, allow }
  // The shim answers for what it does not have.
  if (node) return { mode, command: [process.execPath, NODE_SHIM, ...node, ...(mode === 'loop' ? ['--loop'] : [])], extraEnv: {}, allow: match?.tasks ?? ['*'] }
  const interpreter = typeof python === 'string' ? python : interpreterOf(cwd, process.env.VIRTUAL_ENV)
  return { mode, command: pythonCommand({ interpreter, module, mode, allow, ...(preload && { preload }) }), extraEnv: pythonEnvironment(module, mode), allow }
}
