/** What every command ends with, so that scripts can tell why. `reproq help exit-codes` prints it. */
export const exitCodes = {
  OK: 0,
  FAILURE: 1,
  USAGE: 2,
  NOT_FOUND: 3,
  UNREACHABLE: 4,
  DENIED: 5,
  TIMED_OUT: 6,
  TASK_FAILED: 7,
  SCHEMA_OUT_OF_DATE: 8,
  INTERRUPTED: 130,
} as const

export const meanings: Record<keyof typeof exitCodes, string> = {
  OK: 'done',
  FAILURE: 'it failed; the message says why',
  USAGE: 'wrong usage: an unknown command or option, or a value that cannot be',
  NOT_FOUND: 'there is no such run, queue, worker, …',
  UNREACHABLE: 'no answer from the broker or the database',
  DENIED: 'the token or the login is refused, or does not allow this',
  TIMED_OUT: 'waiting took too long; what was waited for goes on',
  TASK_FAILED: 'the run itself failed or was cancelled (run, runs wait)',
  SCHEMA_OUT_OF_DATE: 'the database lacks migrations, or has newer ones',
  INTERRUPTED: 'Ctrl-C',
}

const byCode: Record<string, number> = {
  DATABASE_NOT_FOUND: exitCodes.UNREACHABLE,
  DATABASE_UNAVAILABLE: exitCodes.UNREACHABLE,
  DATABASE_DENIED: exitCodes.DENIED,
  BROKER_UNREACHABLE: exitCodes.UNREACHABLE,
  WAIT_TIMEOUT: exitCodes.TIMED_OUT,
  TASK_FAILED: exitCodes.TASK_FAILED,
  TASK_CANCELLED: exitCodes.TASK_FAILED,
  SCHEMA_BEHIND: exitCodes.SCHEMA_OUT_OF_DATE,
  SCHEMA_NEWER: exitCodes.SCHEMA_OUT_OF_DATE,
  INTERRUPTED: exitCodes.INTERRUPTED,
}
const byStatus: Record<number, number> = {
  400: exitCodes.USAGE,
  401: exitCodes.DENIED,
  403: exitCodes.DENIED,
  404: exitCodes.NOT_FOUND,
  422: exitCodes.USAGE,
  503: exitCodes.UNREACHABLE,
}

/** By the error's code, else by the HTTP status that the broker answered with. */
export function exitCodeOf(error: unknown): number {
  const { code = '', status = 0 } = error as { code?: unknown; status?: number }
  if (typeof code !== 'string') return exitCodes.FAILURE
  const known = byCode[code]
  if (known !== undefined) return known
  if (code.startsWith('INVALID_')) return exitCodes.USAGE
  if (code.endsWith('_NOT_FOUND')) return exitCodes.NOT_FOUND
  return byStatus[status] ?? exitCodes.FAILURE
}
