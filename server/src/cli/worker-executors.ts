import { existsSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { InProcessExecutor, OneShotExecutor, type Assignment, type Executor, type OneShotOptions } from '../../../executor-shims/worker/src/worker.js'
import { loadTasks } from '../../../executor-shims/worker/src/task-modules.js'
import { InvalidOption } from '../../../sdk-ts/src/errors.js'
import { splitCommand } from './split-command.js'

export interface ExecutorFlags {
  tasks?: string[]
  python?: string | true
  pythonModule: string
  executor?: string
  payloadMode: 'stdin' | 'file'
  allowTasks?: string[]
  env?: string[]
}

export type Output = (assignment: Assignment, stream: 'stdout' | 'stderr', text: string) => void

const BUNDLED_MODULE = 'reproq_executor'
const BUNDLED_PYTHON = fileURLToPath(new URL('../../../../executor-shims/python', import.meta.url))

/** The executors that the flags ask for, and a word for people about each. Throws InvalidOption or TaskModuleError. */
export async function executorsOf(flags: ExecutorFlags, output: Output): Promise<{ executors: Executor[]; described: string[] }> {
  const executors: Executor[] = []
  const described: string[] = []
  if (flags.tasks) {
    const typescript = new InProcessExecutor(await loadTasks(flags.tasks))
    executors.push(typescript)
    described.push(`typescript: ${typescript.tasks.join(', ')}`)
  }
  const external = externalOf(flags)
  if (external) {
    executors.push(new OneShotExecutor({ ...external, payloadMode: flags.payloadMode, allow: flags.allowTasks ?? [], env: flags.env ?? [], onLog: output }))
    described.push(`${external.name}: ${external.command.join(' ')}`)
  }
  if (executors.length === 0) throw new InvalidOption('This worker has nothing to run', "add --tasks 'tasks/*.ts', --python, or --executor <command>")
  return { executors, described }
}

function externalOf(flags: ExecutorFlags): OneShotOptions | undefined {
  const { python, executor, pythonModule } = flags
  if (python !== undefined && executor !== undefined) throw new InvalidOption('--python and --executor cannot both run the same tasks', 'start a worker for each, on queues of their own')
  if (executor !== undefined) {
    const command = splitCommand(executor)
    return { name: basename(command[0] as string), command }
  }
  if (python === undefined && pythonModule === BUNDLED_MODULE) return undefined
  const interpreter = typeof python === 'string' ? python : interpreterOf(process.cwd(), process.env.VIRTUAL_ENV)
  return { name: 'python', command: [interpreter, '-m', pythonModule], extraEnv: pythonEnvironment(pythonModule) }
}

/** The environment that is active, or the one that lies in the folder, or the system's. */
export function interpreterOf(folder: string, virtualEnv: string | undefined): string {
  const environments = [virtualEnv || undefined, join(folder, '.venv'), join(folder, 'venv')].filter((path) => path !== undefined)
  const program = process.platform === 'win32' ? join('Scripts', 'python.exe') : join('bin', 'python')
  return environments.map((path) => join(path, program)).find((path) => existsSync(path)) ?? 'python3'
}

/** The executor that comes with this package need not be installed. */
function pythonEnvironment(module: string): Record<string, string> {
  if (module !== BUNDLED_MODULE) return {}
  return { PYTHONPATH: [BUNDLED_PYTHON, process.env.PYTHONPATH].filter((path) => path).join(delimiter) }
}
