import { execFile, execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const CACHE = join(ROOT, 'node_modules/.cache/reproq-tests')
const run = promisify(execFile)

export interface Python {
  program: string
  /** Such as 3.13. */
  version: string
}

/** The newest Python of at least 3.`minor` on PATH or among pyenv's. */
export function findPython(minor: number): Python | undefined {
  const found = candidates().map(versionOf).filter((python) => python !== undefined)
  return found.filter(({ version }) => minorOf(version) >= minor).toSorted((a, b) => minorOf(b.version) - minorOf(a.version))[0]
}

function candidates(): string[] {
  const pyenv = join(homedir(), '.pyenv/versions')
  const installed = existsSync(pyenv) ? readdirSync(pyenv).map((name) => join(pyenv, name, 'bin/python3')) : []
  return ['python3.13', 'python3.12', 'python3', ...installed]
}

function versionOf(program: string): Python | undefined {
  try {
    const said = execFileSync(program, ['-c', 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    return { program, version: said.trim() }
  } catch {
    return undefined
  }
}

const minorOf = (version: string) => (version.startsWith('3.') ? Number(version.slice(2)) : -1)

/** The interpreter of a virtual environment in `folder` with nothing in it but pip. */
export async function newEnvironment(python: Python, folder: string): Promise<string> {
  await run(python.program, ['-m', 'venv', folder])
  return join(folder, 'bin/python')
}

/** Installs with pip, and throws what pip said. After `limitMs` it is ended. */
export async function pipInstall(interpreter: string, args: string[], limitMs = 600_000): Promise<void> {
  await run(interpreter, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input', '--retries', '2', '--timeout', '20', ...args], { timeout: limitMs })
}

/** The interpreter of an environment that has `requirements`, made once per contents of that file and Python version. */
export async function environmentWith(python: Python, requirements: string, say: (line: string) => void): Promise<string> {
  const key = createHash('sha256').update(readFileSync(requirements)).update(python.program).digest('hex').slice(0, 12)
  const folder = join(CACHE, `python-${python.version}-${key}`)
  const interpreter = join(folder, 'bin/python')
  if (existsSync(join(folder, 'complete'))) return interpreter
  say(`making an environment for Python ${python.version}, once (some seconds)`)
  // Made aside and renamed, so that of two runs at the same time each finds a whole one.
  const aside = `${folder}.${process.pid}`
  mkdirSync(CACHE, { recursive: true })
  try {
    await pipInstall(await newEnvironment(python, aside), ['-r', requirements])
    writeFileSync(join(aside, 'complete'), '')
    renameSync(aside, folder)
  } catch (error) {
    rmSync(aside, { recursive: true, force: true })
    if (!existsSync(join(folder, 'complete'))) throw error
  }
  return interpreter
}

/** Why pip failed, if it is that no package index can be reached from here; a package that is not there is no such reason. */
export function unreachable(error: unknown): string | undefined {
  const said = String((error as { stderr?: unknown }).stderr ?? error)
  return /NewConnectionError|ConnectTimeout|NameResolutionError|Network is unreachable|ProxyError/.test(said) ? 'the Python package index cannot be reached' : undefined
}
