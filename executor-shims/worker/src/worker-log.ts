import type { TaskLog } from '../../../sdk-ts/src/define-task.js'

/** The log of a worker that was given none: what somebody should know of, and no more. */
export const warningsToStandardError: TaskLog = {
  debug() {},
  info() {},
  warn: (message, fields) => write('warn', message, fields),
  error: (message, fields) => write('error', message, fields),
}

function write(level: string, message: string, fields?: Record<string, unknown>) {
  const isEmpty = fields === undefined || Object.keys(fields).length === 0
  process.stderr.write(`reproq worker ${level}: ${message}${isEmpty ? '' : ` ${JSON.stringify(fields)}`}\n`)
}
