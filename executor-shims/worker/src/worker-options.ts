import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import { hostname } from 'node:os'
import { CAPABILITIES, type Subscription } from '../../../protocol/src/index.js'
import type { Task, TaskLog } from '../../../sdk-ts/src/define-task.js'
import { InvalidOption } from '../../../sdk-ts/src/errors.js'
import type { Executor } from './executor.js'
import { InProcessExecutor } from './in-process.js'
import { warningsToStandardError } from './worker-log.js'

export interface WorkerOptions {
  /** Broker: http(s) or ws(s). Default: the variable REPROQ_URL, else http://127.0.0.1:4700. */
  url?: string
  /** Several brokers of one Postgres, in place of `url`; one at a time is used. */
  urls?: readonly string[]
  /** Default: the variable REPROQ_TOKEN, else none. */
  token?: string
  /** Tasks to run in this process. */
  tasks?: readonly Task[]
  /** What those write to console while they run is output of their run. Default: true; see InProcessOptions. */
  captureConsole?: boolean
  /** In order, after `tasks`: the first that serves a task runs it. The worker stops them when it ends. */
  executors?: readonly Executor[]
  /** Default: ["default"]. */
  queues?: readonly string[]
  /** In place of `queues`: sets of queues, each with the number of leases it may hold. */
  lanes?: readonly Subscription[]
  /** Runs at the same time. Default: 10, or with `lanes` the sum of their windows. */
  concurrency?: number
  /** Leases held at the same time, those that wait for a slot included. Default: concurrency, and up to 32 more while runs are short. */
  window?: number
  /** Name for people, best a stable one. Default: host name and process id. */
  name?: string
  /** How long `drain` lets running code go on. Default: 30,000. */
  drainMs?: number
  /** `false`: give up when the first connection does not come about. Default: keep trying. */
  retry?: boolean
  /** Default: warnings and errors go to standard error. */
  log?: TaskLog
  /**
   * Asked about runs whose task no executor here serves: `true` gives one back, at no cost for it, because another worker
   * of its queue will take it. Default: `false`, it fails and says why.
   */
  givesBackUnserved?: (queue: string) => boolean
}

/** The options with every default filled in. */
export interface WorkerSettings {
  urls: readonly string[]
  token: string | undefined
  executors: readonly Executor[]
  lanes: readonly Subscription[]
  /** The most leases beyond those windows, while runs are short. */
  prefetch: number
  concurrency: number
  name: string
  drainMs: number
  retry: boolean
  log: TaskLog
  givesBackUnserved: (queue: string) => boolean
}

/** The protocol's own bound on windows. */
const MOST_LEASES = 10_000
/**
 * However short runs are: should this process die, nobody knows which of those in hand had started, so each loses an attempt.
 * With more the shortest runs are a little quicker still.
 */
const PREFETCH = 32

/** Throws InvalidOption for what cannot work. */
export function settingsOf(options: WorkerOptions): WorkerSettings {
  const executors = [...(options.tasks ? [new InProcessExecutor(options.tasks, { captureConsole: options.captureConsole ?? true })] : []), ...(options.executors ?? [])]
  if (executors.length === 0) throw new InvalidOption('A worker without tasks and executors can run nothing', 'pass tasks: [...], or executors: [...]')
  return {
    urls: options.urls ?? [options.url ?? environment('REPROQ_URL') ?? 'http://127.0.0.1:4700'],
    token: options.token ?? environment('REPROQ_TOKEN'),
    executors,
    ...capacityOf(options),
    name: options.name ?? `${hostname()}-${process.pid}`,
    drainMs: options.drainMs ?? 30_000,
    retry: options.retry ?? true,
    log: options.log ?? warningsToStandardError,
    givesBackUnserved: options.givesBackUnserved ?? (() => false),
  }
}

/** Who this process is, for `hello`. */
export function identityOf({ name, concurrency }: WorkerSettings) {
  const sdk = { name: 'reproq', version: packageVersion(), lang: 'typescript' }
  return { worker: name, instance: randomUUID(), sdk, caps: [...CAPABILITIES], host: hostname(), pid: process.pid, concurrency }
}

function capacityOf({ queues = ['default'], lanes, concurrency, window }: WorkerOptions): Pick<WorkerSettings, 'lanes' | 'prefetch' | 'concurrency'> {
  if (lanes) {
    for (const lane of lanes) checkCount('window of a lane', lane.window)
    const slots = concurrency ?? lanes.reduce((sum, lane) => sum + lane.window, 0)
    return { lanes, prefetch: 0, concurrency: checkCount('concurrency', slots) }
  }
  if (queues.length === 0) throw new InvalidOption('A worker needs at least one queue', 'leave queues out for "default"')
  const slots = checkCount('concurrency', concurrency ?? 10)
  const lane = { queues: [...queues], window: checkCount('window', window ?? slots) }
  const prefetch = window === undefined ? Math.min(Math.max(PREFETCH, slots), MOST_LEASES - slots) : 0
  return { lanes: [lane], prefetch, concurrency: slots }
}

function checkCount(name: string, count: number): number {
  if (Number.isInteger(count) && count >= 1 && count <= MOST_LEASES) return count
  throw new InvalidOption(`The ${name} is ${count}`, `it takes a whole number from 1 to ${MOST_LEASES}`)
}

function environment(variable: string): string | undefined {
  return process.env[variable] || undefined
}

/** By the name of the package, because compiled code lies deeper than its source. */
function packageVersion(): string {
  const { version } = createRequire(import.meta.url)('reproq/package.json') as { version: string }
  return version
}
