import { pino, type Logger } from 'pino'
import type { TaskLog } from '../../../../sdk-ts/src/define-task.js'

const LEVELS: Record<string, string> = { trace: 'DEBUG', debug: 'DEBUG', info: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'ERROR' }

/** JSON lines on standard output, with the keys of Go's slog: time, level, msg. Secrets are masked by key. */
export function slog(level = 'info'): Logger {
  return pino(
    {
      level,
      base: null,
      messageKey: 'msg',
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: LEVELS[label] ?? label }) },
      serializers: { err: pino.stdSerializers.errWithCause },
      redact: ['token', 'dsn', 'password', 'secret', 'authorization', '*.token', '*.dsn', '*.password', '*.secret', '*.authorization'],
    },
    pino.destination(1),
  )
}

export function taskLog(log: Logger): TaskLog {
  const say = (level: 'debug' | 'info' | 'warn' | 'error') => (message: string, fields?: Record<string, unknown>) => log[level](fields ?? {}, message)
  return { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') }
}
