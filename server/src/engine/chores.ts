import type { Logger } from 'pino'
import type { Config } from '../config.js'
import type { Listen } from '../db/listen.js'
import type { Pool } from '../db/pool.js'
import type { Events } from '../events.js'
import { forgetIdleTenants } from '../runs/fair.js'
import { releaseStaleHolds } from '../runs/holds.js'
import { forgetFullBuckets } from '../runs/limits.js'
import { extendLeases, overdue } from '../runs/watch.js'
import { stray } from '../sessions/sessions.js'
import type { Dispatch } from './dispatch.js'
import { lookAround, type Dues } from './dues.js'
import { reclaimAll } from './expiry.js'
import type { Chore } from './loop.js'
import type { Settle } from './settle.js'

/** A run some link of this broker holds, as far as chores need to know it. */
export interface HeldRun {
  run: string
  /** Tell the worker to stop it. */
  cancel(mode: 'soft' | 'hard', reason: string): void
  /** The worker was told and does not answer: end the attempt as timed out. */
  giveUp(): Promise<void>
  /** Whether the worker was already told to stop it, hard. */
  told: boolean
}

/** What this broker's links hold. */
export interface Holdings {
  sessions(): { sessionId: string; conn: number }[]
  runs(): string[]
  find(run: string): HeldRun | undefined
}

export interface ChoreContext {
  config: Config
  pool: Pool
  listen: Listen
  events: Events
  log: Logger
  dispatch: Dispatch
  dues: Dues
  settle: Settle
  holdings: Holdings
}

/** A worker enforces run-time limits itself; the broker steps in this long after it should have. */
const OVERDUE_SLACK_MS = 5_000

/** Everything a broker does by the clock. */
export function chores(context: ChoreContext): Chore[] {
  const { config } = context
  const suspects = new Set<string>()
  let lastBucket = ''
  return [
    { name: 'look', everyMs: config.lookMs, runOnce: () => look(context) },
    { name: 'strays', everyMs: config.lookMs, runOnce: () => releaseLongStray(context, suspects) },
    { name: 'watch', everyMs: config.lookMs, runOnce: () => watch(context) },
    { name: 'buckets', everyMs: 30 * config.lookMs, runOnce: async () => void (lastBucket = await forgetFullBuckets(context.pool, lastBucket)) },
    { name: 'tenants', everyMs: 30 * config.lookMs, runOnce: () => forgetIdleTenants(context.pool) },
    { name: 'holds', everyMs: 6 * config.lookMs, runOnce: () => letGoStale(context) },
    { name: 'reclaim', everyMs: 6 * config.lookMs, runOnce: () => reclaimForeign(context) },
    { name: 'extend', everyMs: config.leaseMs / 4, runOnce: () => extend(context) },
  ]
}

/** Covers a lost notification: asks once for everything, and makes sure that the listener still hears. */
async function look({ pool, dispatch, dues, listen }: ChoreContext): Promise<void> {
  dispatch.wakeAll()
  await lookAround(pool, dues)
  await listen.check()
}

/** Cancels that were not heard as a notification, and runs whose worker does not keep their limit. */
async function watch({ pool, holdings, log }: ChoreContext): Promise<void> {
  const sessionIds = holdings.sessions().map(({ sessionId }) => sessionId)
  if (holdings.runs().length === 0) return
  for (const { run, late } of await overdue(pool, sessionIds, OVERDUE_SLACK_MS)) {
    const held = holdings.find(run)
    if (!held) continue
    // Also of a run that somebody wants stopped: the wish must not shield it from its limit.
    if (!late) held.cancel('soft', 'cancelled')
    else if (!held.told) held.cancel('hard', 'timeout')
    else {
      log.warn({ runId: run }, 'the worker did not stop a run past its limit; the attempt ends without it')
      await held.giveUp()
    }
  }
}

async function letGoStale({ pool, dues, log }: ChoreContext): Promise<void> {
  const count = await releaseStaleHolds(pool)
  if (count === 0) return
  log.warn({ count }, 'keys were held for runs that do not run (a TRUNCATE, or a restored backup?); they are free again')
  dues.blocked.expect(0)
}

async function reclaimForeign(context: ChoreContext): Promise<void> {
  const count = await reclaimAll(context)
  if (count > 0) context.log.info({ count }, "runs of workers that are none of this database's brokers' were left RUNNING; they were taken back")
}

async function extend({ pool, holdings, config }: ChoreContext): Promise<void> {
  if (holdings.runs().length > 0) await extendLeases(pool, config.leaseMs)
}

/**
 * Gives back leases the database has for our sessions though no link knows them: what remains when a lease statement
 * committed and its answer was lost.
 */
export async function releaseStray(context: Strays): Promise<void> {
  await giveBack(context, await findStray(context))
}

/** The same as a precaution, where nothing is known to have failed: only what was stray at the look before as well, for a lease may just be on its way. */
export async function releaseLongStray(context: Strays, suspects: Set<string>): Promise<void> {
  if (context.holdings.sessions().length === 0) return
  const found = await findStray(context)
  const long = found.filter(({ lease }) => suspects.has(lease))
  suspects.clear()
  for (const { lease } of found) suspects.add(lease)
  await giveBack(context, long)
}

type Strays = Pick<ChoreContext, 'pool' | 'holdings' | 'settle'> & { dispatch: Pick<Dispatch, 'isFlying'> }

async function findStray({ pool, holdings, dispatch }: Strays) {
  const rows = await stray(pool, holdings.sessions(), holdings.runs())
  // Known by now: handed over since; or on its way still.
  const known = new Set(holdings.runs())
  return rows.filter(({ run, lease }) => !known.has(run) && !dispatch.isFlying(lease))
}

async function giveBack({ settle }: Strays, leases: { run: string; lease: string }[]): Promise<void> {
  await settle.release(leases.map((lease) => ({ ...lease, delayMs: 0 })))
}
