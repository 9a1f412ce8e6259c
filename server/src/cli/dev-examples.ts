import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Reproq, type RunHandle } from '../../../sdk-ts/src/index.js'
import { paint } from './explain.js'

const FOLDER = fileURLToPath(new URL('../../../../examples', import.meta.url))
/** A package comes without them. */
const HAS_EXAMPLES = existsSync(FOLDER)

export const exampleTasks: readonly string[] = HAS_EXAMPLES ? [`${FOLDER}/tasks/*.ts`] : []
/** Where Python finds the module `examples`. */
export const examplePath: string[] = HAS_EXAMPLES ? [dirname(FOLDER)] : []
export const EXAMPLE_PREFIX = 'examples.'

export async function enqueueExamples(url: string, token: string, python: boolean): Promise<RunHandle[]> {
  if (!HAS_EXAMPLES) return []
  // Compiled with the project; a package without the examples folder never comes here.
  const module = (await import(new URL('../../../examples/enqueue.js', import.meta.url).href)) as typeof import('../../../examples/enqueue.js')
  return module.enqueueExamples(new Reproq({ url, token }), { python })
}

/** Waits for every run; a line says what went wrong with each that did not succeed. */
export async function allSucceed(runs: RunHandle[]): Promise<boolean> {
  const settled = await Promise.all(runs.map((run) => run.settled({ timeout: '60s' }).catch((error: unknown) => ({ ok: false as const, error }))))
  const failed = settled.flatMap((one) => (one.ok ? [] : [String(one.error)]))
  if (runs.length === 0) failed.push('there were no example runs')
  for (const why of failed) process.stderr.write(`${paint('red', '✖')} ${why}\n`)
  if (failed.length === 0) process.stderr.write(`${paint('green', '✔')} ${runs.length} example runs succeeded\n`)
  return failed.length === 0
}
