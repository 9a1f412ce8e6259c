import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { remoteTask, Reproq } from '../../sdk-ts/src/index.js'
import { newEnvironment, pipInstall, type Python } from '../../test/django/python.js'
import { STAND_IN, type DjangoEnvironment } from '../../test/django/reproq-django.js'
import { BrokerProcess } from '../machine/broker.js'
import { ROOT, temporaryFolder } from '../machine/folders.js'
import type { Database } from '../machine/postgres.js'

export const PROJECT = join(ROOT, 'test/django/project')
const MAIN = join(ROOT, 'dist/server/src/cli/main.js')
const PYTHON_HOME = join(ROOT, 'executor-shims/python')
const add = remoteTask<{ args: unknown[] }, number>('shop.tasks.add')

/** Processes that run tasks at the same time. */
export const PROCESSES = 2

/** A worker with its processes, ready to be given tasks. */
export interface Running {
  /** The process that has all the others below it. */
  pid: number
  /** Runs so many tasks to their end. */
  work(count: number): Promise<void>
  stop(): Promise<void>
}

export interface Contestant {
  name: string
  /** What it runs; where that has a one-shot contestant, it is compared with that one. */
  module: string
  /** Tasks of one round, full and quick. */
  tasks: [full: number, quick: number]
  start(): Promise<Running>
}

const environment = (databaseUrl: string): NodeJS.ProcessEnv => ({ ...process.env, DJANGO_SETTINGS_MODULE: 'shop.settings', SHOP_DATABASE_URL: databaseUrl })

/** Our worker, with one module in one mode, on a database of its own. */
export function ours(mode: 'one-shot' | 'zygote' | 'loop', module: string, tasks: Contestant['tasks'], { interpreter, version, variables }: DjangoEnvironment, freshDatabase: () => Promise<Database>): Contestant {
  return {
    name: `${mode} (${module}${module === 'reproq_executor' ? '' : version ? ` ${version}` : ', its stand-in'})`,
    module,
    tasks,
    start: async () => {
      const database = await freshDatabase()
      const env = { ...environment(database.url), PYTHONPATH: [PYTHON_HOME, variables.PYTHONPATH].filter(Boolean).join(delimiter) }
      // Django's tables first, as in a team's project; the broker adopts them.
      mustRun(interpreter, ['manage.py', 'migrate', '-v', '0'], { cwd: PROJECT, env })
      const broker = await BrokerProcess.start(database.url)
      const flags = ['--url', broker.url, '--python', interpreter, '--python-module', module, '--python-mode', mode, '--allow-tasks', 'shop.tasks.', '--env', 'SHOP_DATABASE_URL', '--concurrency', String(PROCESSES), '--quiet']
      const worker = spawn(process.execPath, [MAIN, 'worker', ...flags], { cwd: PROJECT, env: { ...env, REPROQ_TOKEN: broker.token }, stdio: ['ignore', 'ignore', 'inherit'] })
      const reproq = new Reproq({ url: broker.url, token: broker.token })
      return {
        pid: worker.pid as number,
        work: async (count) => {
          await reproq.enqueueMany(add, Array.from({ length: count }, (_, n) => ({ input: { args: [n, 1] } })))
          while (await database.value(`SELECT EXISTS (SELECT FROM task_runs WHERE status NOT IN ('SUCCESSFUL', 'FAILED'))`)) await delay(20)
          const failed = await database.value(`SELECT last_error FROM task_runs WHERE status = 'FAILED' LIMIT 1`)
          if (failed) throw new Error(`A task failed: ${String(failed)}`)
        },
        stop: async () => {
          await ended(worker, 'SIGTERM')
          await reproq.close()
          await broker.stop()
          await database.drop()
        },
      }
    },
  }
}

/** Celery's prefork pool over Redis, with a multiplier above its default of 4, which is faster for tasks this short. Throws a Skip where it cannot be had. */
export async function celery(cache: string, python: Python, databaseUrl: string): Promise<Contestant> {
  const redis = spawnSync('redis-server', ['--version'], { encoding: 'utf8' })
  if (redis.status !== 0) throw new Skip('there is no redis-server on PATH (Debian: apt-get install redis-server)')
  const interpreter = await celeryEnvironment(cache, python)
  return {
    name: 'Celery prefork, Redis',
    module: 'celery',
    tasks: [10_000, 2_000],
    start: async () => {
      const port = 20_000 + (process.pid % 20_000)
      const server = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', temporaryFolder('redis')], { stdio: 'ignore' })
      // Celery's environment has no reproq-django, which the project's settings name.
      const env = { ...environment(databaseUrl), PYTHONPATH: STAND_IN, SHOP_PROJECT: PROJECT, SHOP_REDIS_URL: `redis://127.0.0.1:${port}/0` }
      const options = { cwd: join(ROOT, 'bench/python'), env }
      const worker = spawn(interpreter, ['-m', 'celery', '-A', 'celery_app', 'worker', '-P', 'prefork', '-c', String(PROCESSES), '--prefetch-multiplier', '64', '-l', 'CRITICAL', '--without-gossip', '--without-mingle', '--without-heartbeat'], { ...options, stdio: 'ignore' })
      const producer = spawn(interpreter, ['celery_app.py'], { ...options, stdio: ['pipe', 'pipe', 'inherit'] })
      const answers = createInterface({ input: producer.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
      return {
        pid: worker.pid as number,
        work: async (count) => {
          producer.stdin?.write(`${count}\n`)
          if ((await answers.next()).done) throw new Error("Celery's producer has ended")
        },
        stop: async () => {
          await ended(producer, 'SIGTERM')
          await ended(worker, 'SIGTERM')
          await ended(server, 'SIGKILL')
        },
      }
    },
  }
}

/** Why somebody does not take part. */
export class Skip extends Error {}

/** Once, into the bench's own folder. */
async function celeryEnvironment(cache: string, python: Python): Promise<string> {
  const folder = join(cache, `celery-${python.version}`)
  const interpreter = join(folder, 'bin/python')
  if (existsSync(join(folder, 'bin/celery'))) return interpreter
  mkdirSync(cache, { recursive: true })
  process.stderr.write('installing Celery (once) …\n')
  try {
    await newEnvironment(python, folder)
    await pipInstall(interpreter, ['celery[redis]', '-r', join(ROOT, 'test/django/requirements.txt')])
  } catch (error) {
    throw new Skip(`Celery cannot be installed: ${String((error as { stderr?: unknown }).stderr ?? error).trim().split('\n').at(-1)}`)
  }
  return interpreter
}

function mustRun(program: string, args: string[], options: { cwd: string; env: NodeJS.ProcessEnv }): void {
  const { status, stderr } = spawnSync(program, args, { ...options, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${args.join(' ')} failed\n${stderr}`)
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill(signal)
  const late = setTimeout(() => child.kill('SIGKILL'), 15_000)
  await exited
  clearTimeout(late)
}
