import type { CancelResult, Enqueued, LogEntry, Run } from '../../protocol/src/rest.js'
import { isAway, type BrokerHttp, type OnAway } from './broker-http.js'
import { durationMs, type Duration } from './duration.js'
import { TaskCancelled, TaskFailed, WaitTimeout } from './errors.js'
import { followRun, isFinal, type RunEvent } from './run-events.js'
import { followLogs, storedLogs, type LogOptions } from './run-logs.js'

/** Longer and the proxies in between begin to cut the line. */
const POLL_MS = 30_000
/** A wait without a timeout bears a broker that is away for this long at a stretch: an upgrade, not a wrong address. */
const PATIENCE_MS = 300_000
/** The last answer of a wait leaves the broker when time is up, and needs a moment to arrive. */
const ARRIVAL_MS = 1_000

export interface WaitOptions {
  /** How long to wait. Without it, as long as it takes. */
  timeout?: Duration
  /** Ends the waiting, not the run. */
  signal?: AbortSignal
  /** Told once each time the broker stops answering, which is borne. What it throws ends the waiting. */
  onAway?: OnAway | undefined
}

/** How a run ended. `output` is what JSON makes of what the task returned. */
export type Settled<Output = unknown> = { ok: true; output: Output; run: Run } | { ok: false; error: TaskFailed | TaskCancelled; run: Run }

/** A run that was enqueued: wait for it, watch it, cancel it. */
export class RunHandle<Output = unknown> {
  readonly id: string
  /** `true`: a run with this idempotency key existed already, and this is it. */
  readonly deduplicated: boolean
  readonly #http: BrokerHttp
  readonly #requestTimeoutMs: number

  constructor(http: BrokerHttp, enqueued: Enqueued, requestTimeoutMs: number) {
    this.id = enqueued.id
    this.deduplicated = enqueued.deduplicated
    this.#http = http
    this.#requestTimeoutMs = requestTimeoutMs
  }

  /**
   * What the task returned, once it has. Bears a broker that restarts meanwhile.
   * Throws TaskFailed, TaskCancelled, WaitTimeout (the run goes on), and what `get` throws.
   */
  async result(options: WaitOptions = {}): Promise<Output> {
    const settled = await this.settled(options)
    if (!settled.ok) throw settled.error
    return settled.output
  }

  /** The same as `result`, with failure and cancellation as values. Throws WaitTimeout, and what `get` throws. */
  async settled({ timeout, signal, onAway }: WaitOptions = {}): Promise<Settled<Output>> {
    const timeoutMs = timeout === undefined ? Number.POSITIVE_INFINITY : durationMs(timeout)
    const deadline = performance.now() + timeoutMs
    for (;;) {
      const run = await this.#poll(deadline, timeoutMs, signal, onAway)
      if (isFinal(run.status)) return settledAs<Output>(run)
      if (performance.now() >= deadline) throw new WaitTimeout(this.id, timeoutMs)
    }
  }

  /** The run as it is now. Throws RunNotFound, BrokerUnreachable and other HttpProblems. */
  get({ timeout, onAway }: Omit<WaitOptions, 'signal'> = {}): Promise<Run> {
    const limitMs = Math.min(this.#requestTimeoutMs, timeout === undefined ? Number.POSITIVE_INFINITY : durationMs(timeout) + ARRIVAL_MS)
    return this.#http.ask<Run>({ method: 'GET', path: this.#path, repeatable: true, until: performance.now() + limitMs, onAway })
  }

  /** Cancels it. `cancelling`: it is running and was told; its answer decides. Throws what `get` throws. */
  cancel(): Promise<CancelResult> {
    return this.#http.ask<CancelResult>({ method: 'POST', path: `${this.#path}/cancel`, repeatable: true, until: performance.now() + this.#requestTimeoutMs })
  }

  /** Its states from now on, the present one first, until the final one. Reconnects by itself. Throws what `get` throws. */
  events(options: Omit<WaitOptions, 'timeout'> = {}): AsyncGenerator<RunEvent, void, undefined> {
    return followRun(this.#http, `${this.#path}/events`, PATIENCE_MS, options)
  }

  /**
   * What its attempts printed, oldest first. Ends with what there is now; with `follow` it goes on until the run is final,
   * and reconnects by itself. Throws what `get` throws.
   */
  logs({ follow = false, ...options }: LogOptions & { follow?: boolean } = {}): AsyncGenerator<LogEntry, void, undefined> {
    const path = `${this.#path}/logs`
    return follow ? followLogs(this.#http, path, PATIENCE_MS, options) : storedLogs(this.#http, path, this.#requestTimeoutMs, options)
  }

  get #path(): string {
    return `/v1/runs/${encodeURIComponent(this.id)}`
  }

  async #poll(deadline: number, timeoutMs: number, signal: AbortSignal | undefined, onAway: OnAway | undefined): Promise<Run> {
    const holdMs = Math.ceil(Math.min(POLL_MS, Math.max(deadline - performance.now(), 0)))
    const until = Math.min(deadline + ARRIVAL_MS, performance.now() + PATIENCE_MS)
    try {
      return await this.#http.ask<Run>({ method: 'GET', path: `${this.#path}?wait_ms=${holdMs}`, holdMs, repeatable: true, until, onAway, ...(signal && { signal }) })
    } catch (error) {
      if (isAway(error) && until >= deadline) throw new WaitTimeout(this.id, timeoutMs, error)
      throw error
    }
  }
}

function settledAs<Output>(run: Run): Settled<Output> {
  if (run.status === 'SUCCESSFUL') return { ok: true, output: run.output as Output, run }
  return { ok: false, error: run.status === 'CANCELLED' ? new TaskCancelled(run) : new TaskFailed(run), run }
}
