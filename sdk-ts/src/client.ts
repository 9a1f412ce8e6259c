import { query, type Ask } from './ask.js'
import type { RunOutcomes } from '../../protocol/src/rest-operations.js'
import type { CancelResult, Enqueued, EnqueuedMany, EnqueuedWorkflow, EnqueueRequest, Run, RunList } from '../../protocol/src/rest.js'
import { BrokerHttp } from './broker-http.js'
import { durationMs, type Duration } from './duration.js'
import { enqueueRequest, payloadText, type EnqueueOptions } from './enqueue-request.js'
import { InvalidOption, PartlyEnqueued } from './errors.js'
import { Limits } from './limits.js'
import { Operations } from './operations.js'
import { insertRun, insertWorkflow, type SqlClient } from './pg.js'
import { Queues } from './queues.js'
import { Tasks } from './tasks.js'
import { filterQuery, type RunFilter } from './run-filter.js'
import { RunHandle, type WaitOptions } from './run-handle.js'
import { Schedules } from './schedules.js'
import { Workers } from './workers.js'
import type { CallArguments, InputOf, OutputOf, TaskReference } from './task-reference.js'
import type { OpenTransport } from './transport.js'
import { chainOf, chordOf, graphOf, groupOf, type Draft, type Step, type StepOutput, type WorkflowOptions } from './workflow.js'
import { WorkflowHandle } from './workflow-handle.js'
import { Workflows } from './workflows.js'

/** Where a broker started by hand listens. */
const DEFAULT_URL = 'http://127.0.0.1:4700'
/** The most runs one bulk request may carry: BULK_LIMIT of the contract. */
const CHUNK = 1_000

export interface ReproqOptions {
  /** Base URL of the broker. Default: the variable REPROQ_URL, else http://127.0.0.1:4700. */
  url?: string
  /** Default: the variable REPROQ_TOKEN, else none. */
  token?: string
  /** How long one request may take, attempts to reach a restarting broker included. Default: 30 seconds. */
  requestTimeout?: Duration
}

/** Options of an enqueue, and the transaction it may be part of. */
export interface EnqueueOptionsWithTransaction extends EnqueueOptions {
  /** Your own `pg` client with an open transaction: the run exists when it commits, and never did when it rolls back. */
  tx?: SqlClient
}

/** Options of a workflow, and the transaction it may be part of. */
export interface WorkflowOptionsWithTransaction extends WorkflowOptions {
  /** As in an enqueue: your own `pg` client with an open transaction. */
  tx?: SqlClient
}

/** One of the runs of an `enqueueMany`. */
export type Item<Input> = EnqueueOptions & (undefined extends Input ? { input?: Input } : { input: Input })

/** Which runs to list. Newest first. */
export interface ListOptions extends RunFilter {
  /** How many at most. */
  limit?: number
  /** `next_cursor` of the list before. */
  cursor?: string
}

/** What became of each run, in the order asked. */
export type Outcomes = RunOutcomes['runs']

/** The client of a broker, whatever carries its requests: `Reproq` is this class with the transport of the platform. */
export class Client {
  readonly #http: BrokerHttp
  readonly #ask: Ask
  readonly #requestTimeoutMs: number
  /** Runs by the clock. */
  readonly schedules: Schedules
  /** Work on all runs that a filter means. */
  readonly operations: Operations
  readonly queues: Queues
  readonly tasks: Tasks
  readonly workflows: Workflows
  readonly limits: Limits
  readonly workers: Workers

  /** Throws InvalidOption for a URL that is none, and InvalidDuration. */
  constructor(options: ReproqOptions, openTransport: OpenTransport) {
    const given = options.url ?? environment('REPROQ_URL')
    const url = baseUrl(given ?? DEFAULT_URL)
    const hint = given === undefined ? 'REPROQ_URL is not set, so the default was tried: start a broker here, or set REPROQ_URL' : 'check that the broker runs there, and that REPROQ_URL or the url option is right'
    this.#http = new BrokerHttp(url, options.token ?? environment('REPROQ_TOKEN'), hint, openTransport(url.origin))
    this.#requestTimeoutMs = durationMs(options.requestTimeout ?? 30_000)
    this.schedules = new Schedules(this.#http, this.#requestTimeoutMs)
    const ask: Ask = (method, path, { body, repeatable = true } = {}) =>
      this.#http.ask({ method, path, ...(body !== undefined && { body: JSON.stringify(body) }), repeatable, until: this.#until() })
    this.#ask = ask
    this.operations = new Operations(ask)
    this.queues = new Queues(ask)
    this.tasks = new Tasks(ask)
    this.workflows = new Workflows(ask)
    this.limits = new Limits(ask)
    this.workers = new Workers(ask)
  }

  /**
   * Asks for one run of a task. A task's name with its type will do, without its code: `enqueue<typeof sendWelcome>('email.sendWelcome', …)`;
   * the defaults of its definition (queue, retry, …) are then unknown here, so pass those that matter.
   *
   * Throws InvalidInput, BrokerUnreachable and other HttpProblems. Without an idempotency key it is asked only once,
   * because an answer that got lost may stand for a run that exists; with one it is asked again while the broker is away.
   */
  async enqueue<T extends TaskReference>(task: T | string, ...[input, options = {}]: CallArguments<T, EnqueueOptionsWithTransaction>): Promise<RunHandle<OutputOf<T>>> {
    const { tx, ...rest } = options
    const request = await enqueueRequest(task, input, rest)
    const enqueued = tx ? await insertRun(tx, request) : await this.#post<Enqueued>('/v1/runs', request, [request])
    return this.#handle<T>(enqueued)
  }

  /**
   * Asks for many runs of a task; the answer keeps the order of the items. Each thousand is enqueued whole or not at all.
   * Throws what `enqueue` throws, or PartlyEnqueued when a later thousand failed.
   */
  async enqueueMany<T extends TaskReference>(task: T | string, items: readonly Item<InputOf<T>>[]): Promise<RunHandle<OutputOf<T>>[]> {
    // All are checked before the first is sent, so that a bad item enqueues nothing.
    const requests = await Promise.all(items.map(({ input, ...options }) => enqueueRequest(task, input, options)))
    const handles: RunHandle<OutputOf<T>>[] = []
    for (let from = 0; from < requests.length; from += CHUNK) {
      const runs = requests.slice(from, from + CHUNK)
      const answer = await this.#post<EnqueuedMany>('/v1/runs/bulk', { runs }, runs).catch((error: unknown) => {
        throw from === 0 ? error : new PartlyEnqueued(handles.map(({ id }) => id), requests.length, error)
      })
      for (const enqueued of answer.runs) handles.push(this.#handle<T>(enqueued))
    }
    return handles
  }

  /** Enqueues and waits: throws what `enqueue` and `RunHandle.result` throw. `wait` bounds the waiting, `timeout` each attempt. */
  async run<T extends TaskReference>(task: T | string, ...[input, options = {}]: CallArguments<T, EnqueueOptions & { wait?: Duration; signal?: AbortSignal }>): Promise<OutputOf<T>> {
    const { wait, signal, ...rest } = options
    const request = await enqueueRequest(task, input, rest)
    const run = this.#handle<T>(await this.#post<Enqueued>('/v1/runs', request, [request]))
    const waiting: WaitOptions = { ...(wait !== undefined && { timeout: wait }), ...(signal && { signal }) }
    return run.result(waiting)
  }

  /**
   * Enqueues runs that go one after the other: each starts when the one before has succeeded, and finds its output in
   * `context.parents`. All or none are made. The output is that of the last. Throws what `enqueue` throws, as do the next three.
   */
  async chain<const Steps extends readonly Step[]>(steps: Steps, options: WorkflowOptionsWithTransaction = {}): Promise<WorkflowHandle<LastOutput<Steps>>> {
    return this.#workflow(await chainOf(steps, options), options, (outputs) => outputs[0])
  }

  /** Enqueues runs that belong together and wait for nothing. The outputs come in the order of the steps. */
  async group<const Steps extends readonly Step[]>(steps: Steps, options: WorkflowOptionsWithTransaction = {}): Promise<WorkflowHandle<{ -readonly [At in keyof Steps]: StepOutput<Steps[At]> }>> {
    return this.#workflow(await groupOf(steps, options), options, (outputs) => outputs)
  }

  /** Enqueues a group and a run that starts when all of it has succeeded, and whose output is that of the whole. Without steps it starts at once. */
  async chord<Output>(steps: readonly Step[], callback: Step<Output>, options: WorkflowOptionsWithTransaction = {}): Promise<WorkflowHandle<Output>> {
    return this.#workflow(await chordOf(steps, callback, options), options, (outputs) => outputs[0])
  }

  /** Enqueues any graph of runs: each step names in `after` those it waits for, and says in `when` how they must have ended. The outputs come by name. */
  async workflow<Steps extends Record<string, Step>>(steps: Steps, options: WorkflowOptionsWithTransaction = {}): Promise<WorkflowHandle<{ [Name in keyof Steps]: StepOutput<Steps[Name]> }>> {
    const draft = await graphOf(steps, options)
    return this.#workflow(draft, options, (outputs) => Object.fromEntries(draft.ends.map((name, at) => [name, outputs[at]]).filter(([, output]) => output !== undefined)))
  }

  /** A handle for a run that was enqueued elsewhere or earlier. Asks nothing; a wrong id shows at its first use. */
  handle<T extends TaskReference>(id: string): RunHandle<OutputOf<T>> {
    return this.#handle<T>({ id, deduplicated: false })
  }

  /** The run as it is now. Throws RunNotFound, BrokerUnreachable and other HttpProblems. */
  get(id: string): Promise<Run> {
    return this.handle(id).get()
  }

  /** Cancels a run. Throws what `get` throws. */
  cancel(id: string): Promise<CancelResult> {
    return this.handle(id).cancel()
  }

  /** Runs without their payloads, newest first. Throws BrokerUnreachable and HttpProblems. */
  list({ limit, cursor, ...filter }: ListOptions = {}): Promise<RunList> {
    return this.#ask('GET', `/v1/runs?${query({ ...filterQuery(filter), limit, cursor })}`)
  }

  /** FAILED or CANCELLED → READY, with all attempts before them again; at most 1,000. One that cannot be does not keep the others. */
  async retry(ids: readonly string[]): Promise<Outcomes> {
    return (await this.#ask<RunOutcomes>('POST', '/v1/runs/retry', { body: { ids } })).runs
  }

  /** A new run like each of these, which are over; or like the newest of a hash. Not asked twice: each time makes runs. */
  async replay(runs: readonly string[] | { specHash: string }): Promise<Outcomes> {
    const body = 'specHash' in runs ? { spec_hash: runs.specHash } : { ids: runs }
    return (await this.#ask<RunOutcomes>('POST', '/v1/runs/replay', { body, repeatable: false })).runs
  }

  /** Lets go of connections. Not needed for a process to end: idle ones do not hold it. */
  close(): Promise<void> {
    return this.#http.close()
  }

  #post<Answer>(path: string, body: unknown, runs: EnqueueRequest[]): Promise<Answer> {
    const repeatable = runs.every((run) => run.idempotency_key !== undefined)
    return this.#http.ask<Answer>({ method: 'POST', path, body: payloadText(runs[0]?.task ?? '', body), repeatable, until: this.#until() })
  }

  async #workflow<Output>({ request, ends }: Draft, { tx }: WorkflowOptionsWithTransaction, outputOf: (outputs: unknown[]) => unknown): Promise<WorkflowHandle<Output>> {
    const enqueued = tx
      ? await insertWorkflow(tx, request)
      : await this.#http.ask<EnqueuedWorkflow>({ method: 'POST', path: '/v1/workflows', body: payloadText(request.nodes[0]?.task ?? '', request), repeatable: request.idempotency_key !== undefined, until: this.#until() })
    const runs = Object.entries(enqueued.runs).map(([name, id]) => [name, new RunHandle(this.#http, { id, deduplicated: enqueued.deduplicated }, this.#requestTimeoutMs)] as const)
    return new WorkflowHandle<Output>(this.workflows, enqueued, Object.fromEntries(runs), ends, outputOf)
  }

  #handle<T extends TaskReference>(enqueued: Enqueued): RunHandle<OutputOf<T>> {
    return new RunHandle<OutputOf<T>>(this.#http, enqueued, this.#requestTimeoutMs)
  }

  #until(): number {
    return performance.now() + this.#requestTimeoutMs
  }
}

type LastOutput<Steps extends readonly Step[]> = Steps extends readonly [...Step[], infer Last] ? StepOutput<Last> : StepOutput<Steps[number]>

/** Browsers and edge runtimes have no `process`. An empty variable counts as none. */
function environment(name: string): string | undefined {
  return (typeof process === 'undefined' ? undefined : process.env?.[name]) || undefined
}

function baseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new InvalidOption(`The broker's URL is not one: ${JSON.stringify(text)}`, 'set REPROQ_URL or the url option to something like "http://127.0.0.1:4700"')
  }
  return url
}
