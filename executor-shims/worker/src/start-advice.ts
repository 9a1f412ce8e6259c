import { existsSync } from 'node:fs'
import type { Settlement } from './executor.js'
import { StartFailure } from './start-failure.js'
import { storable } from './storable-text.js'

/** Error class of a run whose code was never reached. The broker knows it too, and counts no crash. */
export const NOT_STARTED = 'ExecutorNotStarted'

export interface Started {
  name: string
  command: readonly string[]
  cwd?: string | undefined
}

/** The settlement of a run whose executor did not come about: not the fault of the run. */
export function notStarted(executor: Started, error: unknown): Settlement {
  const { code = '', message } = error as NodeJS.ErrnoException
  const reason = adviceFor(code, executor) ?? message
  const said = error instanceof StartFailure ? error.stderr.trim() : ''
  return {
    outcome: 'crashed',
    error: {
      class: NOT_STARTED,
      message: storable(`The executor ${executor.name} could not be started: ${reason}`, 65_536),
      ...(said !== '' && { traceback: storable(said, 262_144) }),
    },
    retryable: true,
  }
}

function adviceFor(code: string, { command, cwd, name }: Started): string | undefined {
  // The system reports a missing folder as a missing program.
  if (code === 'ENOENT' && cwd !== undefined && !existsSync(cwd)) return `the folder ${cwd} does not exist. Correct the executor's cwd`
  if (code === 'ENOENT') return `there is no program "${command[0]}". Install it where this worker runs, or correct the command of the executor ${name}`
  if (code === 'EACCES') return `"${command[0]}" may not be executed. Check its permissions`
  if (code === 'EAGAIN' || code === 'EMFILE') return `the system allows no more processes or open files (${code}). Lower the concurrency or raise the limit`
  return undefined
}
