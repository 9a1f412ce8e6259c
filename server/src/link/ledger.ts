import type { Cancellation, Subscription } from '../../../protocol/src/index.js'
import type { FreeLane } from '../engine/dispatch.js'
import type { Held } from '../engine/settle.js'

/**
 * A lease on this connection. `sent`: on its way, the worker has not said that it has it. `accepted`: it has.
 * `settling`: its result or release is being stored.
 */
export interface Entry extends Held {
  l: number
  queue: string
  task: string
  state: 'sent' | 'accepted' | 'settling'
  cancel?: Omit<Cancellation, 'l'>
  /** What its result is waiting for. */
  settling?: Promise<unknown>
  /** What came of its output on this connection, once there is any: bytes dropped since the last piece, characters kept. */
  output?: { dropped: number; characters: number }
  /** Its checkpoint is being stored. Never rejects. */
  checkpointing?: Promise<unknown>
}

export type NewEntry = Omit<Entry, 'l' | 'workerId' | 'cancelRequested' | 'cancel' | 'settling' | 'output' | 'checkpointing'>

/** What one connection holds, and what room it has: handles, lanes, windows. Pure: no clock, no socket, no database. */
export class Ledger {
  readonly #workerId: string
  readonly #maxWindow: number
  readonly #entries = new Map<number, Entry>()
  #lanes: Subscription[] = []
  #subsVersion = 0
  #nextHandle = 1

  constructor(workerId: string, maxWindow: number) {
    this.#workerId = workerId
    this.#maxWindow = maxWindow
  }

  get size(): number {
    return this.#entries.size
  }

  entries(): Entry[] {
    return [...this.#entries.values()]
  }

  get(l: number): Entry | undefined {
    return this.#entries.get(l)
  }

  /** Looks through all: only cancels and overdue runs ask, and an index would cost every lease. */
  ofRun(run: string): Entry | undefined {
    let found: Entry | undefined
    for (const entry of this.#entries.values()) if (entry.run === run) found = entry
    return found
  }

  /** A new handle for a lease. Handles are never used twice on one connection. */
  add(lease: NewEntry): Entry {
    const { run, lease: id, queue, task, attempt, maxAttempts, retry, crashes, state } = lease
    const entry: Entry = { l: this.#nextHandle++, run, lease: id, queue, task, attempt, maxAttempts, retry, crashes, state, workerId: this.#workerId, cancelRequested: false }
    this.#entries.set(entry.l, entry)
    return entry
  }

  remove(entry: Entry): void {
    this.#entries.delete(entry.l)
  }

  accept(handles: number[]): void {
    for (const l of handles) {
      const entry = this.#entries.get(l)
      if (entry?.state === 'sent') entry.state = 'accepted'
    }
  }

  /**
   * Replaces the lanes. A version that is not newer changes nothing (frames of an older intent). A lane of the same queues stays
   * the same one for the dispatcher, who counts by it what is on its way.
   */
  subscribe(lanes: Subscription[], version: number): boolean {
    if (version <= this.#subsVersion) return false
    this.#subsVersion = version
    const before = new Map(this.#lanes.map(({ queues }) => [queues.join('\0'), queues]))
    this.#lanes = lanes.map(({ queues, window }) => ({ queues: before.get(queues.join('\0')) ?? queues, window }))
    return true
  }

  /** No room any more, for good. */
  closeLanes(): void {
    this.subscribe([], Number.POSITIVE_INFINITY)
  }

  /** Room by lane: its window less what its queues hold, within the window of the whole session. */
  freeLanes(): FreeLane[] {
    let room = this.#maxWindow - this.#entries.size
    return this.#lanes.map(({ queues, window }) => {
      const free = Math.max(0, Math.min(window - this.#outstanding(queues), room))
      room -= free
      return { queues, free }
    })
  }

  /** Against what the worker says it holds: handles we do not know (it must stop those), and accepted leases it has forgotten. */
  compare(held: number[]): { lost: number[]; forgotten: Entry[] } {
    const theirs = new Set(held)
    return {
      lost: held.filter((l) => !this.#entries.has(l)),
      forgotten: this.entries().filter((entry) => entry.state === 'accepted' && !theirs.has(entry.l)),
    }
  }

  #outstanding(queues: readonly string[]): number {
    if (this.#lanes.length === 1) return this.#entries.size
    let count = 0
    for (const entry of this.#entries.values()) if (queues.includes(entry.queue)) count++
    return count
  }
}
