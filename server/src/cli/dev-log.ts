import { pino, type Logger } from 'pino'
import { paint } from './explain.js'

const AGAIN_AFTER_MS = 10_000
const ERROR = 50

/** The broker's log for people: a line each, without stacks, and not the same one over and over. */
export function devLog(level: string): Logger {
  const saidAt = new Map<string, number>()
  return pino({ level }, { write: (text: string) => write(text, saidAt) })
}

function write(text: string, saidAt: Map<string, number>): void {
  const { level, msg, err } = JSON.parse(text) as { level: number; msg?: string; err?: { message?: string } }
  const line = [msg, err?.message].filter(Boolean).join(': ').replace(/\s+/g, ' ')
  const now = performance.now()
  if (now - (saidAt.get(line) ?? Number.NEGATIVE_INFINITY) < AGAIN_AFTER_MS) return
  saidAt.set(line, now)
  const mark = level >= ERROR ? paint('red', '✖') : paint('yellow', '!')
  process.stderr.write(`${new Date().toTimeString().slice(0, 8)} ${mark} ${line}\n`)
}
