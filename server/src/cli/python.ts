import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const PYTHON_MODES = ['one-shot', 'loop', 'zygote'] as const
export type Mode = (typeof PYTHON_MODES)[number]

/** The executor that comes with this package need not be installed. */
export const BUNDLED_MODULE = 'reproq_executor'
const BUNDLED_PYTHON = fileURLToPath(new URL('../../../../executor-shims/python', import.meta.url))
/** Whose modules are known to do nothing when they are merely imported, so that a zygote may import them. */
const DJANGO_MODULE = 'reproq_django.executor'

/** The environment that is active, or the one that lies in the folder, or the system's. */
export function interpreterOf(folder: string, virtualEnv: string | undefined): string {
  const environments = [virtualEnv || undefined, join(folder, '.venv'), join(folder, 'venv')].filter((path) => path !== undefined)
  const program = process.platform === 'win32' ? join('Scripts', 'python.exe') : join('bin', 'python')
  return environments.map((path) => join(path, program)).find((path) => existsSync(path)) ?? 'python3'
}

/** Warm wherever that is known to work: ours stays in one process, Django's is forked, others are started as ever. */
export function defaultModeOf(module: string): Mode {
  if (module === BUNDLED_MODULE) return 'loop'
  return module === DJANGO_MODULE ? 'zygote' : 'one-shot'
}

export interface PythonProgram {
  interpreter: string
  module: string
  mode: Mode
  /** To be imported before the first run; an executor that cannot does not start. */
  preload?: readonly string[]
  /** Prefixes of the tasks it may run: modules among them are imported early if they can be. */
  allow?: readonly string[]
}

export function pythonCommand({ interpreter, module, mode, preload = [], allow = [] }: PythonProgram): string[] {
  if (mode === 'one-shot') return [interpreter, '-m', module]
  const early = preload.flatMap((name) => ['--preload', name])
  if (mode === 'loop') return [interpreter, '-m', BUNDLED_MODULE, '--loop', ...early]
  const own = module === BUNDLED_MODULE ? [] : ['--module', module]
  return [interpreter, '-m', BUNDLED_MODULE, '--zygote', ...own, ...early, ...modulesIn(allow).flatMap((name) => ['--try-preload', name])]
}

export function pythonEnvironment(module: string, mode: Mode): Record<string, string> {
  if (module !== BUNDLED_MODULE && mode === 'one-shot') return {}
  return { PYTHONPATH: [BUNDLED_PYTHON, process.env.PYTHONPATH].filter((path) => path).join(delimiter) }
}

/** `shop.tasks.` allows the tasks of a module. */
function modulesIn(prefixes: readonly string[]): string[] {
  return prefixes.filter((prefix) => /^[A-Za-z_][\w.]*\.$/.test(prefix)).map((prefix) => prefix.slice(0, -1))
}
