import { execFile } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { environmentWith, pipInstall, ROOT, type Python } from './python.js'

/** Those whose tables and names this suite knows. Only wheels: nothing of it runs while it is installed. */
const RELEASES = 'reproq-django>=0.1.525,<0.2'
const REQUIREMENTS = join(ROOT, 'test/django/requirements.txt')
/** A folder for PYTHONPATH. */
export const STAND_IN = join(ROOT, 'test/django/standin')
const ASK_AGAIN_MS = 24 * 3_600_000
const INSTALL_LIMIT_MS = 60_000
const run = promisify(execFile)

export interface DjangoEnvironment {
  interpreter: string
  /** Version of the reproq-django in it; undefined: its stand-in takes its place. */
  version: string | undefined
  /** What its processes need to know beside the project's own. */
  variables: Record<string, string>
}

/** An environment with Django 6 and reproq-django as the package index has it, or with its stand-in. */
export async function djangoEnvironment(python: Python, say: (line: string) => void): Promise<DjangoEnvironment> {
  const interpreter = await environmentWith(python, REQUIREMENTS, say)
  const version = await reproqDjangoIn(interpreter)
  if (version !== undefined) {
    say(`reproq-django ${version} of the package index`)
    return { interpreter, version, variables: {} }
  }
  say(`the package index has no ${RELEASES} for us: its stand-in (test/django/README.md) takes its place`)
  return { interpreter, version, variables: { PYTHONPATH: STAND_IN } }
}

/** Asked for once in an environment; again after a day when it was not to be had. */
async function reproqDjangoIn(interpreter: string): Promise<string | undefined> {
  const answer = join(dirname(interpreter), '../reproq-django')
  const known = existsSync(answer) ? readFileSync(answer, 'utf8') : undefined
  if (known || (known === '' && Date.now() - statSync(answer).mtimeMs < ASK_AGAIN_MS)) return known || undefined
  const version = await install(interpreter)
  writeFileSync(answer, version ?? '')
  return version
}

async function install(interpreter: string): Promise<string | undefined> {
  try {
    await pipInstall(interpreter, ['--retries', '0', '--only-binary', ':all:', '--requirement', REQUIREMENTS, RELEASES], INSTALL_LIMIT_MS)
  } catch {
    return undefined
  }
  const { stdout } = await run(interpreter, ['-c', 'from importlib.metadata import version; print(version("reproq-django"))'])
  return stdout.trim()
}
