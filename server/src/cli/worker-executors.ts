import { basename } from 'node:path'
import { InProcessExecutor, type Assignment, type Executor } from '../../../executor-shims/worker/src/worker.js'
import { loadTasks } from '../../../executor-shims/worker/src/task-modules.js'
import { InvalidOption } from '../../../sdk-ts/src/errors.js'
import { executorOf, type Described, type Surroundings } from './executor-of.js'
import { readExecutorsFile, type LocatedEntry } from './executors-file.js'
import { BUNDLED_MODULE, type Mode } from './python.js'
import { splitCommand } from './split-command.js'

export interface ExecutorFlags {
  tasks?: string[]
  captureConsole?: 'on' | 'off'
  executors?: string | true
  python?: string | true
  pythonModule: string
  pythonMode?: Mode
  executor?: string
  executorMode?: Mode
  payloadMode?: 'stdin' | 'file'
  allowTasks?: string[]
  env?: string[]
  concurrency: number
}

export type Output = (assignment: Assignment, stream: 'stdout' | 'stderr', text: string) => void

const USUAL_FILE = 'reproq.executors.json'

export interface Found {
  executors: Executor[]
  /** A line for people about each. */
  described: string[]
  /** Where their code is, as far as it can be loaded anew. */
  folders: string[]
}

/** The executors that the flags ask for. Throws InvalidOption or TaskModuleError. */
export async function executorsOf(flags: ExecutorFlags, output: Output): Promise<Found> {
  const surroundings: Surroundings = { onLog: output, onOutput: (text) => process.stderr.write(text), concurrency: flags.concurrency }
  const entries = entriesOf(flags)
  const found = [...(await inProcess(flags, output)), ...entries.map((entry) => executorOf(entry, surroundings))]
  if (found.length === 0) throw new InvalidOption('This worker has nothing to run', "add --tasks 'tasks/*.ts', --python, --executors, or --executor <command>")
  return { executors: found.map(({ executor }) => executor), described: found.map(({ description }) => description), folders: [...new Set(entries.map(({ cwd }) => cwd))] }
}

async function inProcess({ tasks, captureConsole }: ExecutorFlags, onPrint: Output): Promise<Described[]> {
  if (!tasks) return []
  const executor = new InProcessExecutor(await loadTasks(tasks), { captureConsole: captureConsole !== 'off', onPrint })
  return [{ executor, description: `typescript: ${executor.tasks.join(', ')}` }]
}

/** Those of the file first: they say which tasks are theirs. */
function entriesOf(flags: ExecutorFlags): LocatedEntry[] {
  const ofFile = flags.executors === undefined ? [] : readExecutorsFile(flags.executors === true ? USUAL_FILE : flags.executors)
  const ofFlags = entryOf(flags)
  return ofFlags ? [...ofFile, ofFlags] : ofFile
}

function entryOf({ python, executor, executorMode, pythonModule, pythonMode, payloadMode, allowTasks, env }: ExecutorFlags): LocatedEntry | undefined {
  if (python !== undefined && executor !== undefined) throw new InvalidOption('--python and --executor cannot both run the same tasks', 'start a worker for each, on queues of their own, or say with --executors which tasks are whose')
  const common = {
    cwd: process.cwd(),
    ...(allowTasks && allowTasks.length > 0 && { match: { tasks: allowTasks } }),
    ...(env && { env }),
    ...(payloadMode && { payloadMode }),
  }
  if (executor !== undefined) {
    const command = splitCommand(executor)
    return { ...common, name: basename(command[0] as string), command, ...(executorMode && { mode: executorMode }) }
  }
  if (python === undefined && pythonModule === BUNDLED_MODULE) return undefined
  if (pythonMode === 'loop' && pythonModule !== BUNDLED_MODULE) throw new InvalidOption(`${pythonModule} runs one attempt and ends, so it has no loop`, 'take --python-mode zygote or one-shot')
  return { ...common, name: 'python', python: python ?? true, module: pythonModule, ...(pythonMode && { mode: pythonMode }) }
}
