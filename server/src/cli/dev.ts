import type { Command } from 'commander'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { Reproq, type RunHandle } from '../../../sdk-ts/src/index.js'
import { Broker } from '../broker.js'
import type { Config } from '../config.js'
import { migrate } from '../db/migrate.js'
import { Pool } from '../db/pool.js'
import { BrokerError } from '../errors.js'
import { createToken } from '../http/tokens.js'
import { isRunning, markStopped, readDevState, writeDevState } from './dev-state.js'
import { DevWorker } from './dev-worker.js'
import { paint } from './explain.js'
import { announceRuns } from './run-lines.js'
import { addSettingOptions, configOf } from './settings-options.js'
import { stopSignal } from './stop-signals.js'

interface DevOptions {
  once?: boolean
  examples: boolean
  tasks?: string[]
  python?: string | false
  port?: number
}

/** In development a retry is soon and a lost worker is noticed at once. */
const PRESET = { retryBaseMs: 1_000, retryCapMs: 5_000, heartbeatMs: 2_000, leaseMs: 15_000, safetyMs: 3_000, reconnectMs: 5_000, logLevel: 'warn' }
const PORTS_TO_TRY = 20
const DATA_FOLDER = '.reproq/pg18'
const EXAMPLES = fileURLToPath(new URL('../../../../examples', import.meta.url))

/** `reproq dev`: PostgreSQL, broker, worker and example runs, on this machine. */
export function registerDev(program: Command): void {
  addSettingOptions(program.command('dev').description('Start everything on this machine: PostgreSQL (data in .reproq/), broker, a worker, a handful of example runs.'))
    .option('--once', 'stop when the example runs are done; exit 0 if every one succeeded')
    .option('--no-examples', 'enqueue no example runs')
    .option('--tasks <pattern...>', 'task modules of the worker, such as "tasks/*.ts"')
    .option('--python <interpreter>', 'run Python tasks with this interpreter (default: python3 where it exists)')
    .option('--no-python', 'run no Python tasks')
    .addHelpText('after', '\nExamples:\n  reproq dev\n  reproq dev --once\n  DATABASE_URL=postgres://localhost/app reproq dev --tasks "tasks/*.ts"')
    .action(dev)
}

async function dev(options: DevOptions & Record<string, unknown>): Promise<void> {
  const before = readDevState()
  if (before && (await isRunning(before))) {
    say(`already running in this folder: ${before.url}  (pid ${before.pid})`)
    process.exit(0)
  }
  say(`${paint('bold', 'reproq')}  dev  ${paint('dim', 'not for production')}\n`)
  const parts: { stop(): Promise<void> }[] = []
  let worker: DevWorker | undefined
  const stopping = stopSignal(() => {
    worker?.kill()
    for (const part of parts) void part.stop()
  })
  try {
    const database = await startDatabase(options)
    if (database.stop) parts.unshift({ stop: database.stop })
    const token = await prepare(database.url, before?.token)
    const { broker, url } = await startBroker(options, database.url)
    parts.unshift(broker)
    const state = { pid: process.pid, url, token }
    writeDevState(state)
    parts.unshift({ stop: async () => markStopped(state) })
    line('broker', `${url}   docs ${url}/docs`)

    const python = pythonOf(options.python)
    announceRuns(broker.events, new Reproq({ url, token }))
    worker = new DevWorker({ url, token, python, tasks: options.tasks ?? exampleTasks(), pythonPath: existsSync(EXAMPLES) ? [dirname(EXAMPLES)] : [] })
    parts.unshift(worker)
    await worker.connected(broker.events)
    line('worker', `typescript${python ? `, python (${python})` : ''}`)
    say(`\n  try   npx reproq run hello '{"name":"Ada"}'         stop  Ctrl-C\n`)

    const runs = options.examples && existsSync(EXAMPLES) ? await enqueueExamples(url, token, python !== undefined) : []
    if (options.once) process.exitCode = (await allSucceed(runs)) ? 0 : 1
    else await Promise.race([stopping, worker.failed])
  } finally {
    for (const part of parts) await part.stop()
  }
  process.exit()
}

async function startDatabase(options: Record<string, unknown>): Promise<{ url: string; stop?: () => Promise<void> }> {
  const { databaseUrl } = configOf(options)
  const started = performance.now()
  if (databaseUrl !== '') {
    line('postgres', `yours, ${new URL(databaseUrl).host}`)
    return { url: databaseUrl }
  }
  const { startEmbedded } = await import('../db/embedded.js')
  const server = await startEmbedded({ dataDir: DATA_FOLDER })
  line('postgres', `${server.version} embedded, ${server.relocated ? server.dataDir : DATA_FOLDER} (port ${server.port})   ${seconds(started)}`)
  if (server.relocated) say(paint('dim', `    ${server.relocated}`))
  return { url: server.url, stop: () => server.stop() }
}

/** Schema and a token of this folder's own, the same at every start. */
async function prepare(url: string, token: string | undefined): Promise<string> {
  const { applied, version } = await migrate({ url })
  line('schema', `version ${version}${applied.length > 0 ? `, ${applied.length} migrations applied` : ', up to date'}`)
  const pool = new Pool(url, 1)
  try {
    return await createToken(pool, 'dev', ['admin'], null, token)
  } finally {
    await pool.close()
  }
}

/** A port that was asked for is an error when taken; the default moves up and says so. */
async function startBroker(options: DevOptions & Record<string, unknown>, databaseUrl: string): Promise<{ broker: Broker; url: string }> {
  const config = configOf({ ...options, databaseUrl }, PRESET)
  const explicit = options.port !== undefined || process.env.REPROQ_PORT !== undefined
  for (let tried = 0; ; tried++) {
    const attempt: Config = { ...config, port: config.port + tried }
    const broker = new Broker(attempt, pino({ level: config.logLevel }, pino.destination(2)))
    try {
      const { url } = await broker.start()
      if (tried > 0) say(paint('yellow', `  port ${config.port} is taken; using ${attempt.port}`))
      return { broker, url }
    } catch (error) {
      await broker.stop({ drainMs: 0 })
      if (!(error instanceof BrokerError) || error.code !== 'PORT_TAKEN' || explicit || tried === PORTS_TO_TRY) throw error
    }
  }
}

function pythonOf(wanted: string | false | undefined): string | undefined {
  if (wanted === false) return undefined
  if (wanted !== undefined) return wanted
  return spawnSync('python3', ['--version']).status === 0 ? 'python3' : undefined
}

function exampleTasks(): string[] {
  return existsSync(EXAMPLES) ? [`${EXAMPLES}/tasks/*.ts`] : []
}

async function enqueueExamples(url: string, token: string, python: boolean): Promise<RunHandle[]> {
  // Compiled with the project; a package without the examples folder never comes here.
  const module = (await import(new URL('../../../examples/enqueue.js', import.meta.url).href)) as typeof import('../../../examples/enqueue.js')
  return module.enqueueExamples(new Reproq({ url, token }), { python })
}

/** Waits for every run; a line says what went wrong with each that did not succeed. */
async function allSucceed(runs: RunHandle[]): Promise<boolean> {
  const settled = await Promise.all(runs.map((run) => run.settled({ timeout: '60s' }).catch((error: unknown) => ({ ok: false as const, error }))))
  for (const one of settled) if (!one.ok) say(paint('red', `✖ ${String(one.error)}`))
  if (runs.length === 0) say(paint('red', '✖ there were no example runs'))
  return runs.length > 0 && settled.every(({ ok }) => ok)
}

function line(part: string, text: string): void {
  say(`  ${paint('green', '✔')} ${part.padEnd(10)} ${text}`)
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1_000).toFixed(1)} s`
}
