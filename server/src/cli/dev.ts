import { type Command, Option } from 'commander'
import { spawnSync } from 'node:child_process'
import { Reproq } from '../../../sdk-ts/src/index.js'
import { Broker } from '../broker.js'
import type { Config } from '../config.js'
import { migrate } from '../db/migrate.js'
import { Pool } from '../db/pool.js'
import { BrokerError } from '../errors.js'
import { createToken } from '../http/tokens.js'
import { withDatabase } from './database.js'
import { startDatabase } from './dev-database.js'
import { allSucceed, enqueueExamples, EXAMPLE_PREFIX, examplePath, exampleTasks } from './dev-examples.js'
import { devLog } from './dev-log.js'
import { followOthers } from './dev-others.js'
import { reloadOnChange } from './dev-reload.js'
import { resetDev } from './dev-reset.js'
import { syncSchedules } from './dev-schedules.js'
import { type DevState, forgetDevState, isRunning, readDevState, readDevToken, writeDevState } from './dev-state.js'
import { DevWorker } from './dev-worker.js'
import { exitCodeOf, exitCodes } from './exit-codes.js'
import { explain, paint } from './explain.js'
import { failure } from './failure.js'
import { announceRuns } from './run-lines.js'
import { addSettingOptions, configOf } from './settings-options.js'
import { stopSignal } from './stop-signals.js'
import { collectPatterns, workerSettings } from './worker-settings.js'

interface DevOptions {
  once?: boolean
  ephemeral?: boolean
  examples: boolean
  tasks?: string[]
  python?: string | false
  allowTasks?: string[]
  port?: number
}
type Options = DevOptions & Record<string, unknown>

/** In development a retry is soon and a lost worker is noticed at once. */
const PRESET = { retryBaseMs: 1_000, retryCapMs: 5_000, heartbeatMs: 2_000, leaseMs: 15_000, safetyMs: 3_000, reconnectMs: 5_000, logLevel: 'warn' }
const PORTS_TO_TRY = 20

/** `reproq dev`: PostgreSQL, broker, worker and example runs, on this machine. */
export function registerDev(program: Command): void {
  const command = addSettingOptions(program.command('dev').description('Start everything on this machine: PostgreSQL (data in .reproq/), broker, a worker, a handful of example runs.'))
    .option('--once', 'stop when the example runs are done; exit 0 if every one succeeded')
    .option('--ephemeral', 'on a PostgreSQL that is deleted at the end, whatever database is set')
    .option('--no-examples', 'enqueue no example runs; with --tasks, do not load the example tasks either')
    .addOption(new Option('--tasks <pattern...>', 'task modules of the worker, such as "tasks/*.ts", beside the examples; loaded anew when code in this folder changes').env(workerSettings.tasks.env).argParser(collectPatterns))
    .option('--python <interpreter>', 'run Python tasks with this interpreter (default: python3 where it exists)')
    .option('--no-python', 'run no Python tasks')
    .option('--allow-tasks <prefixes...>', 'Python tasks it may run beside the examples, such as mypkg.tasks.; * for all')
    .addHelpText('after', '\nExamples:\n  reproq dev\n  reproq dev --once\n  DATABASE_URL=postgres://localhost/app reproq dev --tasks "tasks/*.ts"')
    .action(async (options: Options, command: Command) => {
      const before = readDevState()
      if (before && (await isRunning(before))) await attach(before, options, command)
      else await dev(options, readDevToken())
    })
  command
    .command('reset')
    .description('delete the database and the token that reproq dev keeps in this folder')
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExamples:\n  reproq dev reset\n  reproq dev reset --yes && reproq dev')
    .action(resetDev)
}

/** Another one runs in this folder: its broker and worker do, as far as they are what was asked for. */
async function attach({ url, token, pid, python }: DevState, { once }: Options, command: Command): Promise<never> {
  const given = command.options.filter((option) => !['once', 'examples'].includes(option.attributeName()) && command.getOptionValueSource(option.attributeName()) === 'cli')
  if (given.length > 0) throw failure('ALREADY_RUNNING', `reproq dev runs in this folder already (${url}, pid ${pid}), and ${given.map(({ long }) => long).join(', ')} would be ignored`, 'stop that one first (Ctrl-C), or leave the options out')
  say(`already running in this folder: ${url}  (pid ${pid})`)
  if (!once) process.exit(0)
  const interrupted = stopSignal(() => undefined).then(() => exitCodes.INTERRUPTED)
  process.exit(await Promise.race([enqueueExamples(url, token, python).then(allSucceed).then(codeOf), interrupted]))
}

async function dev(options: Options, knownToken: string | undefined): Promise<never> {
  say(`${paint('bold', 'reproq')}  dev  ${paint('dim', 'not for production')}\n`)
  const parts: { stop(): Promise<void> }[] = []
  let worker: DevWorker | undefined
  let killDatabase: (() => void) | undefined
  const stopping = stopSignal(() => {
    worker?.kill()
    killDatabase?.()
  })
  const start = async (): Promise<number> => {
    const starting = startDatabase(options)
    // Also one that is asked to stop before it has come up.
    parts.unshift({ stop: async () => (await starting.catch(() => undefined))?.stop?.() })
    const database = await starting
    killDatabase = database.kill
    line('postgres', database.description)
    if (database.note) say(paint('dim', `    ${database.note}`))
    const lost = database.lost.catch((error: unknown) => giveUp(error, worker))
    const token = await prepare(database.url, knownToken, options)
    const { broker, url } = await startBroker(options, database.url)
    parts.unshift(broker)
    const python = pythonOf(options.python)
    writeDevState({ pid: process.pid, url, token, database: database.url, python: python !== undefined })
    parts.unshift({ stop: async () => forgetDevState() })
    line('broker', `${url}   docs ${url}/docs`)

    announceRuns(broker.events, new Reproq({ url, token }))
    const isWithExamples = (options.examples || options.tasks === undefined) && exampleTasks.length > 0
    const tasks = [...(isWithExamples ? exampleTasks : []), ...(options.tasks ?? [])]
    worker = new DevWorker(broker.events, { url, token, python, tasks, allowTasks: [EXAMPLE_PREFIX, ...(options.allowTasks ?? [])], pythonPath: examplePath })
    parts.unshift(worker)
    followOthers(broker.events, database.url, worker)
    await worker.connected()
    line('worker', `typescript${python ? `, python (${python})` : ''}`)
    if (options.tasks) {
      const syncAll = followSchedules(url, token, options.tasks)
      syncAll()
      if (!options.once) {
        const onReloaded = (files: string[]) => {
          line('worker', `loaded anew: ${files.join(', ')}`)
          syncAll()
        }
        const onKept = () => say(`  ${paint('red', '✖')} ${'worker'.padEnd(10)} goes on with the code before; it is loaded anew when that is mended`)
        const endReloads = reloadOnChange(worker, { folder: process.cwd(), tasks: options.tasks, onReloaded, onKept })
        parts.unshift({ stop: async () => endReloads() })
      }
    }
    say(`\n  try   npx reproq run ${isWithExamples ? `hello '{"name":"Ada"}'` : `<task> '<input as JSON>'`}         stop  Ctrl-C\n`)

    const runs = options.examples ? await enqueueExamples(url, token, python !== undefined) : []
    return Promise.race([options.once ? allSucceed(runs).then(codeOf) : lost, worker.failed, lost])
  }
  // A Ctrl-C is heard at any moment of the start, too.
  const done = start()
  try {
    const code = await Promise.race([done, stopping.then(() => (options.once ? exitCodes.INTERRUPTED : 0))])
    done.catch(() => undefined)
    process.exitCode = code
  } catch (error) {
    process.stderr.write(explain(error))
    process.exitCode = exitCodeOf(error)
  }
  for (const part of parts) await part.stop()
  process.exit()
}

/** Says why, once, and ends: a broker and a worker without a database would only repeat it. */
async function giveUp(error: unknown, worker: DevWorker | undefined): Promise<never> {
  process.stderr.write(explain(error))
  worker?.kill()
  forgetDevState()
  process.exit(1)
}

/** Schema and a token of this folder's own, the same at every start. */
async function prepare(url: string, token: string | undefined, { databaseUrl, ephemeral }: Options): Promise<string> {
  return withDatabase(ephemeral || (databaseUrl === undefined && !process.env.REPROQ_DATABASE_URL && !process.env.DATABASE_URL) ? url : (databaseUrl as string | undefined), async () => {
    const { applied, version } = await migrate({ url })
    line('schema', `version ${version}${applied.length > 0 ? `, ${applied.length} migrations applied` : ', up to date'}`)
    const pool = new Pool(url, 1)
    try {
      return await createToken(pool, 'dev', ['admin'], null, token)
    } finally {
      await pool.close()
    }
  })
}

/** A port that was asked for is an error when taken; the default moves up and says so. */
async function startBroker(options: Options, databaseUrl: string): Promise<{ broker: Broker; url: string }> {
  const config = configOf({ ...options, databaseUrl }, PRESET)
  const explicit = options.port !== undefined || process.env.REPROQ_PORT !== undefined
  for (let tried = 0; ; tried++) {
    const attempt: Config = { ...config, port: config.port + tried }
    const broker = new Broker(attempt, devLog(config.logLevel))
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

/** Beside everything else: what is wrong with a schedule stops nobody from working on a task. Their names are said again when they differ. */
function followSchedules(url: string, token: string, tasks: string[]): () => void {
  let said = ''
  return () =>
    void syncSchedules(url, token, tasks).then(
      (names) => {
        const text = names.join(', ')
        if (text !== said) line('schedules', text || 'none')
        said = text
      },
      (error: Error) => say(paint('yellow', `  The schedules of ${tasks.join(' ')} are as they were: `) + error.message),
    )
}

function codeOf(succeeded: boolean): number {
  return succeeded ? 0 : 1
}

function line(part: string, text: string): void {
  say(`  ${paint('green', '✔')} ${part.padEnd(10)} ${text}`)
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
