import type { Worker, WorkerEventMap } from '../../../executor-shims/worker/src/worker.js'
import type { TaskLog } from '../../../sdk-ts/src/define-task.js'
import { paint } from './explain.js'
import { WholeLines } from './whole-lines.js'
import type { Output } from './worker-executors.js'

export interface Banner {
  name: string
  queues: string[]
  concurrency: number
  executors: string[]
}

/** What a worker prints: runs on standard output, everything else on standard error. */
export interface Lines {
  log: TaskLog
  /** What the code of a run prints. */
  output: Output
  banner(banner: Banner): void
  /** A line for each attempt that ends. */
  follow(worker: Worker): void
}

interface LinesOfRuns extends Lines {
  /** Says what a run that ends has begun to print, and nothing more of it. */
  followOutput(worker: Worker): void
}

export function linesFor({ json, quiet }: { json?: boolean; quiet?: boolean }): Lines {
  const lines = json ? jsonLines() : textLines()
  if (!quiet) return lines
  return { ...lines, log: { ...lines.log, info() {} }, banner() {}, follow: lines.followOutput }
}

function textLines(): LinesOfRuns {
  const printed = new WholeLines()
  const sayOf = (task: string, run: string, lines: string[]) => {
    for (const line of lines) say(`${paint('dim', `${time()} │ ${task} ${run}`)}  ${line}`)
  }
  const followOutput = (worker: Worker) => void worker.on('run.settled', ({ task, runId }) => sayOf(task, runId, printed.end(runId)))
  return {
    log: {
      debug() {},
      info: (message, fields) => say(paint('dim', `${time()} · ${message}${describe(fields)}`)),
      warn: (message, fields) => say(`${time()} ${paint('yellow', '!')} ${message}${describe(fields)}`),
      error: (message, fields) => say(`${time()} ${paint('red', '✖')} ${message}${describe(fields)}`),
    },
    output: ({ task, run }, stream, text) => sayOf(task, run, printed.push(run, stream, text)),
    banner: ({ name, queues, concurrency, executors }) => {
      say(`${paint('green', '✔')} worker  ${name}   queues ${queues.join(', ')}   concurrency ${concurrency}   stop with Ctrl-C`)
      for (const executor of executors) say(`          ${executor}`)
    },
    followOutput,
    follow: (worker) => {
      followOutput(worker)
      worker.on('connected', ({ url }) => say(paint('dim', `${time()} · connected to ${url}`)))
      worker.on('run.settled', (run) => process.stdout.write(`${runLine(run)}\n`))
    },
  }
}

function runLine({ task, runId, outcome, wallMs, error }: WorkerEventMap['run.settled'][0]): string {
  const mark = outcome === 'ok' ? paint('green', '✔', process.stdout) : outcome === 'cancelled' || outcome === 'postponed' ? paint('yellow', '–', process.stdout) : paint('red', '✖', process.stdout)
  const reason = error === undefined ? '' : `  ${short(error)}`
  return `${time()} ${mark} ${task} ${runId} ${Math.round(wallMs)} ms${reason}`
}

function jsonLines(): LinesOfRuns {
  const log = (level: string) => (message: string, fields?: Record<string, unknown>) => say(JSON.stringify({ at: now(), level, message, ...fields }))
  return {
    log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    output: ({ task, run }, stream, text) => say(JSON.stringify({ at: now(), event: 'run.output', runId: run, task, stream, text })),
    banner: (banner) => say(JSON.stringify({ at: now(), event: 'worker.started', ...banner })),
    followOutput() {},
    follow: (worker) => {
      worker.on('connected', (link) => say(JSON.stringify({ at: now(), event: 'connected', ...link })))
      worker.on('run.settled', (run) => process.stdout.write(`${JSON.stringify({ at: now(), event: 'run.settled', ...run })}\n`))
    },
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}

function now(): string {
  return new Date().toISOString()
}

function time(): string {
  return new Date().toTimeString().slice(0, 8)
}

const LONGEST = 200

function short(text: string): string {
  const line = text.replace(/\s+/g, ' ')
  return line.length > LONGEST ? `${line.slice(0, LONGEST)}…` : line
}

function describe(fields: Record<string, unknown> | undefined): string {
  const entries = Object.entries(fields ?? {})
  return entries.length === 0 ? '' : `  ${entries.map(([name, value]) => `${name}=${String(value)}`).join(' ')}`
}
