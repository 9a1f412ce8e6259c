import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isSchedule, type ScheduledTask } from '../../../sdk-ts/src/define-schedule.js'
import { isTask, type Task } from '../../../sdk-ts/src/define-task.js'
import { ReproqError } from '../../../sdk-ts/src/reproq-error.js'
import { matchingFiles } from './matching-files.js'
import { placeOf } from './module-fault.js'
import { tasksByName } from './tasks-by-name.js'
import { readyForTypeScript } from './typescript-loader.js'

/** Task modules that cannot be used. `code` TASK_MODULE. */
export class TaskModuleError extends ReproqError {
  constructor(message: string, hint: string, cause?: unknown) {
    super('TASK_MODULE', message, { hint, cause })
    this.name = 'TaskModuleError'
  }
}

/**
 * Loads the tasks that modules export: `loadTasks(['tasks/**\/*.ts'])`. JavaScript and TypeScript, ESM and CommonJS;
 * paths are relative to `folder`. Test files and declarations are passed over, so that a pattern may cover them.
 *
 * Throws TaskModuleError for a pattern without a file, a file that does not load (with its line) or exports no task,
 * and InvalidOption for two tasks of one name.
 */
export async function loadTasks(patterns: readonly string[], folder = process.cwd()): Promise<Task[]> {
  const files = new Set(patterns.flatMap((pattern) => filesOf(pattern, folder)))
  const tasks: Task[] = []
  // One after another: the order of the tasks, and which file is blamed first, stay the same each time.
  for (const file of files) tasks.push(...(await tasksIn(file)))
  return [...tasksByName(tasks).values()]
}

/** The schedules that modules export, looked for as `loadTasks` does; there may be none. Throws TaskModuleError. */
export async function loadSchedules(patterns: readonly string[], folder = process.cwd()): Promise<ScheduledTask[]> {
  const files = new Set(patterns.flatMap((pattern) => filesOf(pattern, folder)))
  const schedules: ScheduledTask[] = []
  for (const file of files) schedules.push(...[...(await valuesIn(file))].filter(isSchedule))
  return schedules
}

function filesOf(pattern: string, folder: string): string[] {
  const literal = resolve(folder, pattern)
  if (existsSync(literal)) return [literal]
  const files = matchingFiles(pattern, folder)
  if (files.length === 0) throw new TaskModuleError(`No file matches ${JSON.stringify(pattern)} in ${folder}`, 'check the path, and quote the pattern so that the shell leaves it alone')
  return files
}

async function tasksIn(file: string): Promise<Task[]> {
  const values = await valuesIn(file)
  const tasks = [...values].filter(isTask)
  if (tasks.length === 0 && ![...values].some(isSchedule)) throw new TaskModuleError(`${file} exports no task`, 'export what defineTask() returns, or leave the file out of the pattern')
  return tasks
}

async function valuesIn(file: string): Promise<Set<unknown>> {
  const exported = await load(file)
  const values = new Set<unknown>(Object.values(exported))
  // A CommonJS module is its default export, and only some of its members are seen as named ones.
  if (typeof exported.default === 'object' && exported.default !== null) for (const value of Object.values(exported.default)) values.add(value)
  return values
}

async function load(file: string): Promise<Record<string, unknown>> {
  if (/\.[mc]?ts$/.test(file)) await readyForTypeScript()
  try {
    return (await import(pathToFileURL(file).href)) as Record<string, unknown>
  } catch (error) {
    const { place, reason } = placeOf(error, file)
    throw new TaskModuleError(`${place} does not load: ${reason}`, 'mend the file; the rest of the tasks waits for it', error)
  }
}
