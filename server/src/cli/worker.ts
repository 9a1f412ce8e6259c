import { type Command, Option } from 'commander'
import { spawnSync } from 'node:child_process'
import { InvalidOption } from '../../../sdk-ts/src/errors.js'
import { watchCode } from '../../../executor-shims/worker/src/watch-code.js'
import { Worker } from '../../../executor-shims/worker/src/worker.js'
import { devAccess } from './dev-state.js'
import { exitCodeOf, exitCodes } from './exit-codes.js'
import { explain } from './explain.js'
import { interpreterOf, PYTHON_MODES } from './python.js'
import { executorsOf, type ExecutorFlags } from './worker-executors.js'
import { linesFor, type Lines } from './worker-lines.js'
import { clientSettings, collectPatterns, optionOf, workerSettings } from './worker-settings.js'

interface WorkerFlags extends ExecutorFlags {
  url?: string[]
  token?: string
  queues: string[]
  concurrency: number
  window?: number
  name?: string
  drainMs: number
  retry: boolean
  watch?: boolean
  json?: boolean
  quiet?: boolean
}

/** `reproq worker`: leases runs from a broker. Ends with 0 when it has drained, with 4 when no broker answers (--no-retry). */
export function registerWorker(program: Command): void {
  program
    .command('worker')
    .description('Lease runs from a broker and run them: TypeScript tasks in this process, any other language in child processes.')
    .addOption(optionOf(clientSettings.url).argParser(collectCommas))
    .addOption(optionOf(clientSettings.token))
    .addOption(optionOf(workerSettings.queues).argParser(commas).default(['default'], 'default'))
    .addOption(optionOf(workerSettings.concurrency).argParser(count('--concurrency')).default(10))
    .addOption(optionOf(workerSettings.window).argParser(count('--window')))
    .addOption(optionOf(workerSettings.tasks).argParser(collectPatterns))
    .addOption(optionOf(workerSettings.captureConsole).choices(['on', 'off']))
    .addOption(optionOf(workerSettings.executors))
    .option('--python [interpreter]', 'run Python tasks; without a value: $VIRTUAL_ENV, ./.venv, ./venv, python3')
    .option('--python-module <module>', 'the executor to run in it', 'reproq_executor')
    .addOption(new Option('--python-mode <mode>', 'a process for many runs, a forked one or a new one for each (default: loop for reproq_executor, zygote for reproq_django.executor, one-shot for others)').choices(PYTHON_MODES))
    .option('--executor <command>', 'run tasks with this program (CONTRACT.md), such as "node run.js"')
    .addOption(new Option('--executor-mode <mode>', 'which contract that program keeps (default: one-shot)').choices(PYTHON_MODES))
    .addOption(new Option('--payload-mode <mode>', 'how an executor is given the payload, unless it loops (default: stdin)').choices(['stdin', 'file']))
    .option('--watch', 'for development: when code in the folder of an executor changes, its next run uses it')
    .addOption(optionOf(workerSettings.allowTasks).argParser(collectCommas))
    .addOption(new Option('--env <name>', 'a variable executors get to see; repeat it for more').argParser(collect))
    .addOption(optionOf(workerSettings.name))
    .addOption(new Option('--drain-ms <ms>', 'after Ctrl-C, how long running code may go on').argParser(count('--drain-ms')).default(30_000))
    .option('--no-retry', 'end with exit code 4 when no broker answers at the start')
    .option('--json', 'JSON lines instead of text')
    .option('--quiet', 'only warnings and errors')
    .addHelpText('after', "\nExamples:\n  reproq worker --queues mail,reports --tasks 'tasks/*.ts'\n  reproq worker --url https://broker.example.com --python --allow-tasks shop.tasks. --env DATABASE_URL")
    .action(work)
}

async function work(flags: WorkerFlags): Promise<void> {
  const lines = linesFor(flags)
  const dev = devAccess(flags.url?.join(','))
  const urls = flags.url ?? (dev.url === undefined ? undefined : [dev.url])
  const token = flags.token ?? dev.token
  if (flags.python !== undefined) mustRun(flags.python === true ? interpreterOf(process.cwd(), process.env.VIRTUAL_ENV) : flags.python)
  const { executors, described, folders } = await executorsOf(flags, lines.output)
  const worker = new Worker({
    ...(urls && { urls }),
    ...(token !== undefined && { token }),
    queues: flags.queues,
    concurrency: flags.concurrency,
    ...(flags.window !== undefined && { window: flags.window }),
    executors,
    ...(flags.name !== undefined && { name: flags.name }),
    drainMs: flags.drainMs,
    retry: flags.retry,
    log: lines.log,
    givesBackUnserved: queuesOfOthers(),
  })
  lines.follow(worker)
  worker.on('connected', ({ refused }) => {
    const why = refusedEverywhere(flags.queues, refused)
    if (why === undefined) return
    process.stderr.write(why)
    process.exit(exitCodes.DENIED)
  })
  if (flags.watch) for (const folder of folders) watchCode(folder, () => executors.forEach((executor) => executor.reload?.()))
  stopOnSignals(worker, lines)
  await run(worker, () => lines.banner({ name: worker.name, queues: flags.queues, concurrency: flags.concurrency, executors: described }))
}

/** Started by `reproq dev`, it stands beside the workers that people start themselves, and is told which queues those serve. */
function queuesOfOthers(): (queue: string) => boolean {
  let served: string[] = []
  process.on('message', (message: { queuesOfOthers: string[] }) => (served = message.queuesOfOthers))
  return (queue) => served.some((pattern) => (pattern.endsWith('*') ? queue.startsWith(pattern.slice(0, -1)) : pattern === queue))
}

/** Every queue of ours was refused: it would wait for ever. */
function refusedEverywhere(queues: readonly string[], refused: readonly string[]): string | undefined {
  if (!queues.every((queue) => refused.includes(queue))) return undefined
  return explain(new InvalidOption(`The token covers none of the queues ${queues.join(', ')}`, `make one with: reproq tokens create <name> --scope ${queues.map((queue) => `work:queue:${queue}`).join(' ')}`))
}

/** A run must not be the first to learn that there is no such interpreter. */
function mustRun(interpreter: string): void {
  const { error, status } = spawnSync(interpreter, ['--version'], { stdio: 'ignore' })
  if (error === undefined && status === 0) return
  const reason = error ? ((error as NodeJS.ErrnoException).code ?? error.message) : `exit code ${status}`
  throw new InvalidOption(`The Python interpreter "${interpreter}" cannot be run (${reason})`, 'install it, or name another: --python <path of the interpreter>')
}

/** Ends the process: a task that was given up must not keep it alive. */
async function run(worker: Worker, banner: () => void): Promise<never> {
  try {
    await worker.start()
    banner()
  } catch (error) {
    process.stderr.write(explain(error))
    process.exit(exitCodeOf(error))
  }
  // Why it was refused later is in its log.
  await worker.closed().catch(() => (process.exitCode = 1))
  process.exit()
}

/** The first Ctrl-C or SIGTERM drains, the second kills what runs and gives it back, the third does not even do that. */
function stopOnSignals(worker: Worker, { log }: Lines): void {
  let signals = 0
  const stop = () => {
    signals++
    if (signals === 1) {
      log.info('Finishing what runs; Ctrl-C again to kill it')
      void worker.drain()
    } else if (signals === 2) {
      log.warn('Stopping by force')
      process.exitCode = exitCodes.INTERRUPTED
      void worker.stop()
    } else process.exit(exitCodes.INTERRUPTED)
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  // Started by `reproq dev`: when that is gone, so is the broker.
  if (process.connected) process.once('disconnect', () => void worker.stop())
}

function commas(text: string): string[] {
  return text.split(',').map((item) => item.trim()).filter((item) => item !== '')
}

function collect(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), text]
}

function collectCommas(text: string, before: string[] | undefined): string[] {
  return [...(before ?? []), ...commas(text)]
}

function count(flag: string) {
  return (text: string): number => {
    const value = Number(text)
    if (text.trim() !== '' && Number.isInteger(value) && value >= 0) return value
    throw new InvalidOption(`${flag} is "${text}"`, 'it takes a whole number')
  }
}
