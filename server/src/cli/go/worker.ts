import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import { Worker } from '../../../../executor-shims/worker/src/worker.js'
import { Broker } from '../../broker.js'
import { loadConfig } from '../../config.js'
import { Pool } from '../../db/pool.js'
import { createToken, revokeToken } from '../../http/tokens.js'
import { mustBeCurrent } from '../broker.js'
import { withDatabase } from '../database.js'
import { executorOf } from '../executor-of.js'
import { exitCodes } from '../exit-codes.js'
import { slog, taskLog } from './log.js'
import { goWorkerSettings, type GoWorkerSettings } from './worker-settings.js'

const TOKEN_SECONDS = 3_600
const RENEW_MS = 1_200_000
/** What a task has no business with; the Go worker passes everything. */
const SECRETS = new Set(['REPROQ_TOKEN', 'METRICS_AUTH_TOKEN'])

/** The Go worker's place: a broker on loopback that nobody else can reach, and a worker of it that runs Python. */
export async function goWorker(words: readonly string[]): Promise<void> {
  const settings = goWorkerSettings(words)
  const log = slog(process.env.REPROQ_LOG_LEVEL || 'info')
  for (const why of settings.unheeded) log.warn({ setting: why }, 'A setting of the Go worker has no effect here')
  await withDatabase(settings.url, mustBeCurrent)
  const pool = new Pool(settings.url, 1)
  const token = await sessionToken(pool, settings)
  const broker = new Broker(brokerConfig(settings), log)
  const { url } = await broker.start()
  const worker = workerOf(settings, url, token.secret, log)
  const end = async () => {
    await broker.stop({ drainMs: 0 })
    await token.end()
    await pool.close()
  }
  stopOnSignals(worker, log)
  await worker.start()
  log.info({ worker_id: settings.workerId, queues: settings.queues, concurrency: settings.concurrency }, 'Worker started')
  const failed = await worker.closed().then(() => false, () => true)
  await end()
  log.info({ worker_id: settings.workerId }, 'Worker stopped')
  // A task that was given up may still hold the process.
  process.exit(failed ? exitCodes.FAILURE : (process.exitCode ?? 0))
}

function brokerConfig({ url, leaseMs, heartbeatMs, reapMs, maxPayloadBytes, maxOutputBytes }: GoWorkerSettings) {
  const { bodyBytes, frameBytes } = loadConfig()
  const given = { leaseMs, heartbeatMs, reapMs, ...(maxPayloadBytes !== undefined && { payloadBytes: maxPayloadBytes, bodyBytes: Math.max(bodyBytes, maxPayloadBytes), frameBytes: Math.max(frameBytes, 3 * maxPayloadBytes) }), outputBytes: maxOutputBytes }
  // A short lease needs a heartbeat that fits into it.
  if (leaseMs !== undefined && heartbeatMs === undefined) given.heartbeatMs = Math.min(loadConfig().heartbeatMs, leaseMs / 4)
  // Schedules are the affair of `beat`, or of pg_cron: a worker of Reproq fires none.
  return loadConfig({ ...given, scheduler: 'off', databaseUrl: url, host: '127.0.0.1', port: 0 })
}

function workerOf(settings: GoWorkerSettings, url: string, token: string, log: Logger): Worker {
  const { workerId, queues, concurrency, allow, pythonBin, executorModule, payloadMode, maxOutputBytes, drainMs } = settings
  const { executor } = executorOf(
    {
      name: 'python',
      python: pythonBin,
      module: executorModule,
      cwd: process.cwd(),
      match: { tasks: allow },
      // Tasks of people who come from the Go worker expect the environment it was started with.
      env: Object.keys(process.env).filter((name) => !SECRETS.has(name)),
      payloadMode,
      ...(maxOutputBytes !== undefined && { limits: { maxOutputBytes } }),
    },
    {
      concurrency,
      onLog: ({ run, task }, stream, text) => log.info({ result_id: run, task_path: task, stream, text }, 'Task output'),
      onOutput: (text) => log.info({ text }, 'Executor output'),
    },
  )
  const worker = new Worker({ urls: [url], token, queues, concurrency, name: workerId, executors: [executor], drainMs, log: taskLog(log) })
  worker.on('run.settled', ({ runId, task, queue, attempt, outcome, wallMs, error }) => {
    const fields = { result_id: runId, task_path: task, queue, attempt, worker_id: workerId, duration_ms: Math.round(wallMs), ...(error !== undefined && { error }) }
    if (outcome === 'ok') log.info(fields, 'Task succeeded')
    else log.warn({ ...fields, outcome }, 'Task did not succeed')
  })
  return worker
}

/** A token for this process alone. It ends by itself when the process cannot end it. */
async function sessionToken(pool: Pool, { workerId, queues }: GoWorkerSettings) {
  const scopes = queues.map((queue) => `work:queue:${queue}`)
  const name = `worker ${workerId} ${randomBytes(4).toString('hex')}`
  const secret = await createToken(pool, name, scopes, TOKEN_SECONDS)
  const renewal = setInterval(() => void createToken(pool, name, scopes, TOKEN_SECONDS, secret).catch(() => undefined), RENEW_MS).unref()
  return {
    secret,
    end: async () => {
      clearInterval(renewal)
      await revokeToken(pool, name).catch(() => false)
    },
  }
}

/** The first SIGTERM or Ctrl-C drains, which costs no run an attempt; the second gives back what runs. */
function stopOnSignals(worker: Worker, log: Logger): void {
  let signals = 0
  const stop = (signal: string) => {
    log.info({ signal }, 'Shutting down')
    signals += 1
    void (signals === 1 ? worker.drain() : worker.stop())
    if (signals > 2) process.exit(exitCodes.INTERRUPTED)
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
}
