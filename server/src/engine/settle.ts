import { storageFault, type Status } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { sqlState, type Db } from '../db/pool.js'
import type { Events } from '../events.js'
import { finalize, refusals, type Finalization, type Refusal, type Settled } from '../runs/finalize.js'
import { release, type Release } from '../runs/release.js'
import { decide, errorEntry, lastError, type Attempt, type Decision, type FailureKind, type Report, type RetryPolicy } from '../runs/retry.js'
import { GroupCommit, isData } from './group-commit.js'

/** A leased run, as far as settling it needs to know. */
export interface Held extends Attempt {
  run: string
  lease: string
}

/** What became of a result. `code`: the output could not be kept, which failed the run. */
export type Disposition =
  | { disp: 'finalized' | 'retry_scheduled'; status: Status; delayMs: number; code?: 'invalid_output' | 'output_too_large' }
  | { disp: Refusal }

export interface SettleOptions {
  retry: RetryPolicy
  outputBytes: number
  /** Wait before a release that the database could not take is tried again. */
  againMs?: number
}

/** Ends attempts: decides, writes in groups, tells what happened after the commit. */
export class Settle {
  readonly #db: Db
  readonly #events: Events
  readonly #options: SettleOptions
  readonly #finalizing: GroupCommit<Finalization, Settled | undefined>
  readonly #releasing: GroupCommit<Release, Settled | undefined>
  #stopped = false

  constructor(db: Db, events: Events, options: SettleOptions) {
    this.#db = db
    this.#events = events
    this.#options = options
    this.#finalizing = new GroupCommit((items) => fenced(items, (once) => finalize(db, once)), { limit: 500 })
    this.#releasing = new GroupCommit((items) => fenced(items, (once) => release(db, once)), { limit: 500 })
  }

  /** Stores the verdict on one attempt, once. Rejects with DATABASE_UNAVAILABLE: nothing is known to be stored, send it again. */
  async settle(held: Held, report: Report, wallMs?: number): Promise<Disposition> {
    const tooLarge = report.output !== undefined && Buffer.byteLength(report.output) > this.#options.outputBytes
    if (tooLarge) return this.#refuseOutput(held, 'output_too_large', `The output is larger than ${this.#options.outputBytes} bytes`, wallMs)
    // Postgres would store half a surrogate pair as U+FFFD, and give 1e131000 back as 131,001 digits.
    const fault = report.output === undefined ? undefined : storageFault(report.output, Number.POSITIVE_INFINITY)
    if (fault) return this.#refuseOutput(held, 'invalid_output', `Postgres cannot keep the output: ${fault.code} at position ${fault.position}`, wallMs)
    const decision = decide(report, held, this.#options.retry)
    if (decision.to === 'release') return this.#settleReleased(held)
    try {
      return await this.#write(held, decision, wallMs)
    } catch (error) {
      const state = sqlState(error)
      if (decision.to !== 'SUCCESSFUL' || !state || !isData(state)) throw error
      return this.#refuseOutput(held, 'invalid_output', `Postgres cannot keep the output: ${((error as BrokerError).cause as Error).message}`, wallMs)
    }
  }

  /** Fails a leased run that must not be run. */
  async fail(held: Held, kind: FailureKind, message: string): Promise<Disposition> {
    return this.#write(held, { to: 'FAILED', kind, error: { class: kind, message } })
  }

  /** Ends a leased run as CANCELLED: it was asked for before the run reached a worker. */
  async cancelled(held: Held): Promise<Disposition> {
    return this.#write(held, { to: 'CANCELLED', kind: 'cancelled', error: { class: 'cancelled', message: 'Task cancelled by request' } })
  }

  /**
   * Gives leases back, uncounted. While the database is away it keeps trying: a lease nobody remembers would hold its run
   * for as long as its session lives.
   */
  async release(leases: Release[]): Promise<void> {
    await Promise.all(leases.map((lease) => this.#releaseSurely(lease)))
  }

  /** No more retries of releases; sessions' expiry takes over. */
  stop(): void {
    this.#stopped = true
  }

  async #releaseSurely(lease: Release): Promise<Settled | undefined> {
    for (;;) {
      try {
        const settled = await this.#releasing.add(lease)
        if (settled) this.#announce(settled, undefined, 'released')
        return settled
      } catch (error) {
        if (this.#stopped || !(error instanceof BrokerError) || error.code !== 'DATABASE_UNAVAILABLE') throw error
        await new Promise((resolve) => setTimeout(resolve, this.#options.againMs ?? 1_000).unref())
      }
    }
  }

  async #settleReleased(held: Held): Promise<Disposition> {
    const settled = await this.#releasing.add({ run: held.run, lease: held.lease, delayMs: 0 })
    if (!settled) return this.#explain(held)
    this.#announce(settled, held.workerId, 'released')
    return dispositionOf(settled)
  }

  #refuseOutput(held: Held, code: 'invalid_output' | 'output_too_large', message: string, wallMs?: number) {
    return this.#write(held, { to: 'FAILED', kind: code, error: { class: code, message } }, wallMs, code)
  }

  async #write(held: Held, decision: Exclude<Decision, { to: 'release' }>, wallMs?: number, code?: 'invalid_output' | 'output_too_large'): Promise<Disposition> {
    const failure = decision.to === 'SUCCESSFUL' ? undefined : decision
    const settled = await this.#finalizing.add({
      run: held.run,
      lease: held.lease,
      status: decision.to,
      output: decision.to === 'SUCCESSFUL' ? decision.output : null,
      error: failure ? errorEntry(failure.kind, failure.error, held) : null,
      lastError: failure && failure.to !== 'READY' ? lastError(failure.error) : null,
      delayMs: decision.to === 'READY' ? decision.delayMs : 0,
    })
    if (!settled) return this.#explain(held)
    this.#announce(settled, held.workerId, failure?.kind ?? 'ok', wallMs)
    return { ...dispositionOf(settled), ...(code && { code }) }
  }

  async #explain(held: Held): Promise<Disposition> {
    const [row] = await refusals(this.#db, [held])
    const disp = row?.verdict ?? 'stale_lease'
    if (disp !== 'duplicate') this.#events.emit('result.refused', { runId: held.run, workerId: held.workerId, code: disp })
    return { disp }
  }

  #announce(settled: Settled, workerId: string | undefined, cause: string, wallMs?: number) {
    const { run, queue, task, status, attempt, delayMs } = settled
    this.#events.emit('run.settled', { runId: run, queue, task, status, attempt, workerId, cause, delayMs, wallMs })
  }
}

function dispositionOf(settled: Settled) {
  const disp = settled.status === 'READY' ? ('retry_scheduled' as const) : ('finalized' as const)
  return { disp, status: settled.status, delayMs: settled.delayMs }
}

/**
 * A fenced statement returns only the rows it changed; put them back beside what was asked. A lease that comes twice in
 * one batch (a result sent again before it was answered) settles its run once: the first verdict counts.
 */
async function fenced<Item extends { run: string; lease: string }>(items: Item[], change: (once: Item[]) => Promise<Settled[]>): Promise<(Settled | undefined)[]> {
  const first = new Map<string, Item>()
  for (const item of items) if (!first.has(item.lease)) first.set(item.lease, item)
  const changed = new Map((await change([...first.values()])).map((settled) => [settled.lease, settled]))
  return items.map((item) => (first.get(item.lease) === item ? changed.get(item.lease) : undefined))
}
