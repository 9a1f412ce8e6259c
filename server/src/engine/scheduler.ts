import type { Db } from '../db/pool.js'
import { fireDue, type Fired } from '../schedules/fire.js'
import { lead, resign, type Mode } from '../schedules/leadership.js'
import { Due, type Left } from './due.js'

const BATCH = 200
const AGAIN_MS = 1_000
/** Those who wait for a leadership to end do not all ask at once. */
const SPREAD_MS = 500

export interface SchedulerOptions {
  brokerId: string
  /** A leader that is not heard of for this long is followed by another. */
  leaseMs: number
  onFired(fired: Fired): void
  onError(error: unknown): void
  /** This broker begins or ends to lead, or another kind of scheduler was chosen. */
  onChange(state: { mode: Mode; leads: boolean }): void
}

/**
 * Fires schedules when they are due: one timer, set to the next, in the broker that leads. That one leads saves the others the
 * work; that a slot is fired once is the database's doing, whoever fires.
 */
export class Scheduler {
  readonly #db: Db
  readonly #options: SchedulerOptions
  readonly #due: Due
  #leading: NodeJS.Timeout | undefined
  #stopped = false
  #mode: Mode = 'off'
  #leadsUntil = 0

  constructor(db: Db, options: SchedulerOptions) {
    this.#db = db
    this.#options = options
    this.#due = new Due(() => this.#fire(), options.onError)
  }

  get leads(): boolean {
    return performance.now() < this.#leadsUntil
  }

  get mode(): Mode {
    return this.#mode
  }

  /** Takes or keeps the leadership, now and again and again: a leader well before it runs out, the others when it has. Never rejects. */
  async lead(): Promise<void> {
    if (this.#stopped) return
    const { leaseMs, onError } = this.#options
    let againMs = AGAIN_MS
    try {
      againMs = await this.#lead()
    } catch (error) {
      onError(error)
    }
    clearTimeout(this.#leading)
    if (!this.#stopped) this.#leading = setTimeout(() => void this.lead(), Math.min(againMs, leaseMs)).unref()
  }

  /** Schedules or the scheduler's mode have changed. Never rejects. */
  async changed(): Promise<void> {
    await this.lead()
    await this.runOnce()
  }

  /** Fires all that is due and sets the timer to what is next; nothing in a broker that does not lead. Never rejects. */
  runOnce(): Promise<void> {
    return this.#due.runOnce()
  }

  /** Gives the leadership to whoever takes it. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#leading)
    await this.#due.stop()
    if (!this.leads) return
    this.#leadsUntil = 0
    await resign(this.#db, this.#options.brokerId).catch(this.#options.onError)
  }

  /** Milliseconds until it should ask again. */
  async #lead(): Promise<number> {
    const { brokerId, leaseMs, onChange } = this.#options
    const before = { mode: this.#mode, leads: this.leads }
    // From before the question was sent: we believe in it for less long than the database does.
    const asked = performance.now()
    const { mode, leads, due, lastsMs } = await lead(this.#db, brokerId, leaseMs)
    this.#mode = mode
    this.#leadsUntil = leads ? asked + leaseMs : 0
    if (before.mode !== mode || before.leads !== leads) onChange({ mode, leads })
    // Also what was not heard as a notification. A new leader has no timer yet.
    if (leads && (due || !before.leads)) void this.runOnce()
    return leads ? leaseMs / 2 : (lastsMs ?? leaseMs) + Math.random() * SPREAD_MS
  }

  async #fire(): Promise<Left> {
    if (!this.leads) return { more: false, nextMs: null }
    const { fired, again, nextMs } = await fireDue(this.#db, BATCH)
    for (const one of fired) this.#options.onFired(one)
    return { more: again, nextMs }
  }
}
