import { hostname } from 'node:os'
import { databaseOf } from '../database.js'
import { failure } from '../failure.js'
import { readConfigFile, type ConfigFile } from './config-file.js'
import { durationMs, goFlags, numberOf, type Flags } from './flags.js'

export interface GoWorkerSettings {
  url: string
  workerId: string
  queues: string[]
  allow: string[]
  concurrency: number
  /** Undefined: the broker's own, which find a dead worker sooner than Reproq's. */
  leaseMs: number | undefined
  heartbeatMs: number | undefined
  reapMs: number | undefined
  payloadMode: 'stdin' | 'file'
  pythonBin: string
  executorModule: string
  maxPayloadBytes: number | undefined
  maxOutputBytes: number | undefined
  drainMs: number
  /** Settings of the Go worker that mean nothing here, with what stands in their place. */
  unheeded: string[]
}

const FLAGS = [
  'config', 'dsn', 'worker-id', 'process-role', 'queues', 'allowed-task-modules', 'concurrency', 'lease-seconds', 'heartbeat-seconds', 'reclaim-interval-seconds',
  'payload-mode', 'priority-aging-factor', 'logs-dir', 'metrics-port', 'metrics-addr', 'metrics-auth-token', 'metrics-allow-cidrs', 'metrics-auth-limit', 'metrics-auth-window',
  'metrics-auth-max-entries', 'metrics-tls-cert', 'metrics-tls-key', 'metrics-tls-client-ca',
]
/** Those of the Go worker. */
const DEFAULT_MODULES = ['myapp.tasks.', 'tasks.']

/** Flags over the environment over the file over defaults, as the Go worker has them. Throws with what is wrong. */
export function goWorkerSettings(words: readonly string[], env: NodeJS.ProcessEnv = process.env): GoWorkerSettings {
  const flags = goFlags('worker', words, FLAGS)
  const file = readConfigFile(flags.config)
  const look = lookup(flags, env, file)
  const seconds = (flag: string, key: string) => {
    const text = look.text(flag, undefined, key)
    return text === undefined ? undefined : numberOf(`-${flag}`, text) * 1_000
  }
  const named = env.REPROQ_DATABASE_URL || env.DATABASE_URL ? undefined : (look.inFile('worker.dsn') ?? look.inFile('dsn'))
  const mode = look.text('payload-mode', undefined, 'worker.payload_mode') ?? 'stdin'
  if (!['stdin', 'file', 'inline'].includes(mode)) throw failure('INVALID_OPTION', `-payload-mode is "${mode}"`, 'it takes stdin, file or inline')
  const reclaimMs = seconds('reclaim-interval-seconds', 'worker.reclaim_interval_seconds')
  const concurrency = numberOf('-concurrency', look.text('concurrency', undefined, 'worker.concurrency') ?? '10')
  if (!Number.isInteger(concurrency) || concurrency < 1) throw failure('INVALID_OPTION', `-concurrency is "${concurrency}"`, 'it takes a whole number of at least 1')
  const allow = look.list('allowed-task-modules', 'ALLOWED_TASK_MODULES', 'worker.allowed_task_modules')
  return {
    url: databaseOf(flags.dsn ?? named),
    workerId: look.text('worker-id', 'WORKER_ID', 'worker.worker_id') ?? `${hostname()}-${process.pid}`,
    queues: look.list('queues', 'QUEUE_NAMES', 'worker.queues') ?? ['default'],
    allow: allow && allow.length > 0 ? allow : DEFAULT_MODULES,
    concurrency,
    leaseMs: seconds('lease-seconds', 'worker.lease_seconds'),
    heartbeatMs: seconds('heartbeat-seconds', 'worker.heartbeat_seconds'),
    // 0 switches Reproq's off; here it is what finds dead workers of this database.
    reapMs: reclaimMs === undefined || reclaimMs === 0 ? undefined : reclaimMs,
    payloadMode: mode === 'file' ? 'file' : 'stdin',
    pythonBin: look.inFile('worker.python_bin') ?? 'python3',
    executorModule: look.inFile('worker.executor_module') ?? 'reproq_django.executor',
    maxPayloadBytes: bytes(look.inFile('worker.max_payload_bytes')),
    maxOutputBytes: bytes(look.inFile('worker.max_stdout_bytes')),
    drainMs: durationMs('worker.shutdown_timeout', look.inFile('worker.shutdown_timeout') ?? '30s'),
    unheeded: unheeded(look, mode),
  }
}

function lookup(flags: Flags, env: NodeJS.ProcessEnv, file: ConfigFile) {
  const inFile = (key: string) => (typeof file[key] === 'string' ? file[key] : undefined)
  const text = (flag: string, variable: string | undefined, key: string) => flags[flag] ?? ((variable && env[variable]) || undefined) ?? inFile(key)
  const list = (flag: string, variable: string, key: string): string[] | undefined => {
    const given = text(flag, variable, key)
    const items = given === undefined ? file[key] : given.split(',')
    return Array.isArray(items) ? items.map((item) => item.trim()).filter((item) => item !== '') : undefined
  }
  return { inFile, text, list }
}

function bytes(text: string | undefined): number | undefined {
  return text === undefined ? undefined : numberOf('max bytes', text)
}

const AGING_DEFAULT = '60'

function unheeded({ text, inFile }: ReturnType<typeof lookup>, mode: string): string[] {
  const said: string[] = []
  if (mode === 'inline') said.push('payload-mode inline: the payload goes through standard input, where no other user can read it')
  if ((text('priority-aging-factor', 'PRIORITY_AGING_FACTOR', 'worker.priority_aging_factor') ?? AGING_DEFAULT) !== AGING_DEFAULT) said.push('priority-aging-factor: a step of priority is always worth a minute of waiting')
  if (text('logs-dir', 'REPROQ_LOGS_DIR', 'worker.logs_dir')) said.push('logs-dir: output of runs is kept in the database (reproq runs logs)')
  if ((text('metrics-port', undefined, 'metrics.port') ?? '0') !== '0' || text('metrics-addr', 'METRICS_ADDR', 'metrics.addr')) said.push('metrics: this worker has no HTTP server of its own')
  if (inFile('worker.exec_timeout')) said.push("worker.exec_timeout: each run has its own timeout_seconds")
  return said
}
