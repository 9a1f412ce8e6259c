import { storageFault, type Status } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import { sqlState, type Db } from '../db/pool.js'
import type { Events } from '../events.js'
import { finalize, refusals, type Finalization, type Refusal, type Settled } from '../runs/finalize.js'
import { release, type Release } from '../runs/release.js'
import { succeed, type Success } from '../runs/succeed.js'
import { decide, errorEntry, lastError, type Attempt, type Decision, type FailureKind, type Report, type RetryRules } from '../runs/retry.js'
import { GroupCommit, isData, type Outcome } from './group-commit.js'

/** A leased run, as far as settling it needs to know. */
export interface Held extends Attempt {
  run: string
  lease: string
  queue: string
  task: string
}

/** A worker's word on one attempt. */
export interface Reported {
  held: Held
  report: Report
  wallMs?: number | undefined
}

/** What became of a result. `code`: the output could not be kept, which failed the run. */
export type Disposition =
  | { disp: 'finalized' | 'retry_scheduled'; status: Status; delayMs: number; code?: 'invalid_output' | 'output_too_large' }
  | { disp: Refusal }

export interface SettleOptions {
  retry: RetryRules
  outputBytes: number
  /** Wait before a release that the database could not take is tried again. */
  againMs?: number
}

/** A statement of large outputs is cut as one of many small ones is. */
const CHARACTERS_PER_WEIGHT = 32_768

/** Ends attempts: decides, writes in groups, tells what happened after the commit. */
export class Settle {
  readonly #events: Events
  readonly #options: SettleOptions
  readonly #succeeding: GroupCommit<Success, boolean>
  readonly #finalizing: GroupCommit<Finalization, Settled | undefined>
  readonly #releasing: GroupCommit<Release, Settled | undefined>
  readonly #explaining: GroupCommit<Refused, Refusal>
  #stopped = false

  constructor(db: Db, events: Events, options: SettleOptions) {
    this.#events = events
    this.#options = options
    this.#succeeding = new GroupCommit((items) => this.#succeed(db, items), { limit: 1_000, weight: ({ output }) => 1 + output.length / CHARACTERS_PER_WEIGHT })
    this.#finalizing = new GroupCommit((items) => this.#fenced(items, (once) => finalize(db, once)), { limit: 500 })
    this.#explaining = new GroupCommit(async (held) => {
      const verdicts = new Map((await refusals(db, held)).map((row) => [row.lease, row.verdict]))
      return held.map(({ lease }) => verdicts.get(lease) ?? 'stale_lease')
    }, { limit: 1_000 })
    this.#releasing = new GroupCommit((items) => this.#fenced(items, (once) => release(db, once)), { limit: 500 })
  }

  /** Stores the verdict on one attempt, once. Rejects with DATABASE_UNAVAILABLE: nothing is known to be stored, send it again. */
  async settle(held: Held, report: Report, wallMs?: number): Promise<Disposition> {
    const [outcome] = await this.settleAll([{ held, report, wallMs }])
    if (outcome?.ok) return outcome.out
    throw outcome?.error
  }

  /** The same for all that came in one frame. Never rejects. */
  async settleAll(reported: Reported[]): Promise<Outcome<Disposition>[]> {
    const decided = reported.map(({ held, report }) => this.#decide(held, report))
    const wellIndexes = decided.flatMap((decision, index) => (decision.to === 'SUCCESSFUL' ? [index] : []))
    const well = this.#succeeding.addAll(
      wellIndexes.map((index) => {
        const { held } = reported[index] as Reported
        return { run: held.run, lease: held.lease, output: (decided[index] as { output: string }).output }
      }),
    )
    const outcomes = await Promise.all(
      decided.map((decision, index) => (decision.to === 'SUCCESSFUL' ? undefined : outcomeOf(this.#settleOtherwise(reported[index] as Reported, decision)))),
    )
    const stored = await well
    // The few that were not stored are looked into together, not one after the other.
    const others: Promise<void>[] = []
    for (const [at, index] of wellIndexes.entries()) {
      const outcome = stored[at] as Outcome<boolean>
      const one = reported[index] as Reported
      if (outcome.ok && outcome.out) outcomes[index] = this.#succeeded(one)
      else others.push(this.#notStored(one, outcome).then((verdict) => void (outcomes[index] = verdict)))
    }
    await Promise.all(others)
    return outcomes as Outcome<Disposition>[]
  }

  /** What a result comes to whose lease is not, or no longer, that of its run. */
  async refuse(held: Refused): Promise<Disposition> {
    const disp = await this.#explaining.add(held)
    if (disp !== 'duplicate') this.#events.emit('result.refused', { runId: held.run, workerId: held.workerId, code: disp })
    return { disp }
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

  /** Whether results are being stored, which will free places. */
  get isBusy(): boolean {
    return this.#succeeding.isBusy
  }

  /** Resolves when the results that are being stored are. */
  turn(): Promise<void> {
    return this.#succeeding.turn()
  }

  /** No more retries of releases; sessions' expiry takes over. */
  stop(): void {
    this.#stopped = true
  }

  async #succeed(db: Db, items: Success[]): Promise<boolean[]> {
    const { held, keyed } = await succeed(db, items)
    if (keyed) this.#events.emit('keys.freed', {})
    return held
  }

  async #fenced<Item extends { run: string; lease: string }>(items: Item[], change: (once: Item[]) => Promise<Settled[]>): Promise<(Settled | undefined)[]> {
    const settled = await fenced(items, change)
    if (settled.some((one) => one?.keyed)) this.#events.emit('keys.freed', {})
    return settled
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

  async #settleReleased(held: Held, { delayMs, holdsQueue }: Released, outcome: Report['outcome']): Promise<Disposition> {
    const settled = await this.#releasing.add({ run: held.run, lease: held.lease, delayMs, holdsQueue })
    if (!settled) return this.refuse(held)
    this.#announce(settled, held.workerId, outcome === 'postponed' ? 'postponed' : 'released')
    return dispositionOf(settled)
  }

  /** What the report comes to, an output that cannot be kept included. */
  #decide(held: Held, report: Report): Decision {
    const { output } = report
    if (output !== undefined && output.length > this.#options.outputBytes / 3 && Buffer.byteLength(output) > this.#options.outputBytes) {
      return outputRefused('output_too_large', `The output is larger than ${this.#options.outputBytes} bytes`)
    }
    // Postgres would store half a surrogate pair as U+FFFD, and give 1e131000 back as 131,001 digits.
    const fault = output === undefined ? undefined : storageFault(output, Number.POSITIVE_INFINITY)
    if (fault) return outputRefused('invalid_output', `Postgres cannot keep the output: ${fault.code} at position ${fault.position}`)
    return decide(report, held, this.#options.retry)
  }

  #settleOtherwise({ held, report, wallMs }: Reported, decision: Exclude<Decision, { to: 'SUCCESSFUL' }>): Promise<Disposition> {
    return decision.to === 'release' ? this.#settleReleased(held, decision, report.outcome) : this.#write(held, decision, wallMs)
  }

  #succeeded({ held, wallMs }: Reported): Outcome<Disposition> {
    this.#announce({ run: held.run, queue: held.queue, task: held.task, attempt: held.attempt, status: 'SUCCESSFUL', delayMs: 0 }, held.workerId, 'ok', wallMs)
    return STORED
  }

  /** An output the database refused fails its run; a lease that no longer held is explained; anything else is tried again by the worker. */
  async #notStored({ held, wallMs }: Reported, outcome: Outcome<boolean>): Promise<Outcome<Disposition>> {
    if (outcome.ok) return outcomeOf(this.refuse(held))
    const state = sqlState(outcome.error)
    if (!state || !isData(state)) return outcome
    const { message } = (outcome.error as BrokerError).cause as Error
    return outcomeOf(this.#write(held, outputRefused('invalid_output', `Postgres cannot keep the output: ${message}`), wallMs))
  }

  async #write(held: Held, decision: Failure, wallMs?: number): Promise<Disposition> {
    const { to, kind, error } = decision
    const settled = await this.#finalizing.add({
      run: held.run,
      lease: held.lease,
      status: to,
      error: errorEntry(kind, error, held),
      lastError: to === 'READY' ? null : lastError(error),
      delayMs: to === 'READY' ? decision.delayMs : 0,
      crashes: to === 'READY' ? decision.crashes : undefined,
    })
    if (!settled) return this.refuse(held)
    this.#announce(settled, held.workerId, kind, wallMs)
    return { ...dispositionOf(settled), ...((kind === 'invalid_output' || kind === 'output_too_large') && { code: kind }) }
  }

  #announce(settled: Omit<Settled, 'lease' | 'keyed'>, workerId: string | undefined, cause: string, wallMs?: number) {
    const { run, queue, task, status, attempt, delayMs } = settled
    this.#events.emit('run.settled', { runId: run, queue, task, status, attempt, workerId, cause, delayMs, wallMs })
  }
}

type Refused = Pick<Held, 'run' | 'lease' | 'workerId'>
type Released = Extract<Decision, { to: 'release' }>
type Failure = Exclude<Decision, { to: 'release' } | { to: 'SUCCESSFUL' }>

const STORED: Outcome<Disposition> = { ok: true, out: { disp: 'finalized', status: 'SUCCESSFUL', delayMs: 0 } }

/** Failing again is certain: no further attempt. */
function outputRefused(kind: 'invalid_output' | 'output_too_large', message: string): Failure {
  return { to: 'FAILED', kind, error: { class: kind, message } }
}

async function outcomeOf<Out>(promise: Promise<Out>): Promise<Outcome<Out>> {
  try {
    return { ok: true, out: await promise }
  } catch (error) {
    return { ok: false, error }
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
