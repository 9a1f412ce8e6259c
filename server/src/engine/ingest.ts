import { createHash, randomUUID } from 'node:crypto'
import { sqlState, type Db } from '../db/pool.js'
import type { Events } from '../events.js'
import { enqueue, isControlled, type Placed } from '../runs/enqueue.js'
import type { Leased } from '../runs/lease.js'
import type { NewRun } from '../runs/spec.js'
import type { Dispatch, Place } from './dispatch.js'
import { GroupCommit } from './group-commit.js'
import type { Due } from './due.js'
import type { Settle } from './settle.js'

const UNIQUE_VIOLATION = '23505'
const LARGEST_BATCH = 2_000
const SMALLEST_BATCH = 500
const MOST_TURNS = 4
const CHARACTERS_PER_WEIGHT = 32_768

export interface IngestOptions {
  leaseMs: number
  /** A statement's end is unknown: runs may have been born leased without anybody knowing. */
  onUncertain: () => void
}

/** Takes in runs: requests that arrive together share a statement, each request stays all or nothing. */
export class Ingest {
  readonly #db: Db
  readonly #events: Events
  readonly #dispatch: Dispatch
  readonly #settle: Settle
  readonly #scheduled: Due
  readonly #options: IngestOptions
  readonly #plain = new GroupCommit<NewRun[], Placed[]>((requests) => this.#write(requests, (runs) => this.#writeLeased(runs)), {
    limit: () => Math.min(Math.max(this.#dispatch.room, SMALLEST_BATCH), LARGEST_BATCH),
    before: () => this.#lettingOthersPass(),
    weight: weightOf,
  })
  // Apart, because keys and controls take a slower statement.
  readonly #controlled = new GroupCommit<NewRun[], Placed[]>((requests) => this.#write(requests, (runs) => enqueue(this.#db, runs)), { limit: LARGEST_BATCH, weight: weightOf })

  constructor(db: Db, events: Events, dispatch: Dispatch, settle: Settle, scheduled: Due, options: IngestOptions) {
    this.#db = db
    this.#events = events
    this.#dispatch = dispatch
    this.#settle = settle
    this.#scheduled = scheduled
    this.#options = options
  }

  /** Stores all of `runs`, or none. In their order. */
  async enqueue(runs: NewRun[]): Promise<Placed[]> {
    const placed = await this.#store(runs)
    const ready = new Set<string>()
    runs.forEach(({ queue, task }, index) => {
      const { id, deduplicated, delayMs, leased } = placed[index] as Placed
      if (deduplicated) return
      this.#events.emit('run.enqueued', { runId: id, queue, task })
      if (delayMs > 0) this.#scheduled.expect(delayMs)
      else if (!leased) ready.add(queue)
    })
    for (const queue of ready) this.#dispatch.wake(queue)
    return placed
  }

  async #store(runs: NewRun[], tries = 3): Promise<Placed[]> {
    const group = runs.some(isControlled) ? this.#controlled : this.#plain
    try {
      return await group.add(runs)
    } catch (error) {
      // A database that the Go schema made allows one active run per spec_hash. Runs that nobody asked to merge are told apart,
      // for enqueueing is not refused; one to be deduplicated will find the twin that came between.
      if (sqlState(error) !== UNIQUE_VIOLATION || tries === 1) throw error
      return this.#store(runs.map((run, index) => (run.control?.deduplicate ? run : salted(run, index))), tries - 1)
    }
  }

  async #write(requests: NewRun[][], write: (runs: NewRun[]) => Promise<Placed[]>): Promise<Placed[][]> {
    const placed = await write(requests.flat())
    let from = 0
    return requests.map((runs) => placed.slice(from, (from += runs.length)))
  }

  /**
   * While runs wait, what is on its way to free places and to fill them goes first. Producers that outrun the workers would
   * otherwise make a backlog of everything, and a run that waits costs twice one that is born leased. With nothing on its
   * way there is nothing to wait for: a backlog of long tasks does not hold up anybody.
   */
  async #lettingOthersPass(): Promise<void> {
    for (let turns = 0; turns < MOST_TURNS && this.#dispatch.room < SMALLEST_BATCH && (this.#settle.isBusy || this.#dispatch.isBusy); turns++) {
      await Promise.all([this.#settle.turn(), this.#dispatch.turn()])
    }
  }

  /** Runs for which a worker has room right now are written as leased to it: one statement and one wait less than enqueue and lease. */
  async #writeLeased(runs: NewRun[]): Promise<Placed[]> {
    const places = this.#reserve(runs)
    let leased: Leased[] = []
    try {
      const placed = await enqueue(this.#db, runs, places, this.#options.leaseMs)
      leased = placed.flatMap(({ id, leased: isLeased }, index) => (isLeased ? [newborn(id, runs[index] as NewRun, places[index] as Place, index)] : []))
      return placed
    } catch (error) {
      if (places.some(Boolean) && sqlState(error) === undefined) this.#options.onUncertain()
      throw error
    } finally {
      this.#dispatch.redeem(places, leased)
    }
  }

  /** Who could take which run, by index; the most urgent first where there is not room for all. */
  #reserve(runs: NewRun[]): (Place | undefined)[] {
    const takers: (Place | undefined)[] = new Array<undefined>(runs.length).fill(undefined)
    const dueByQueue = new Map<string, number[]>()
    runs.forEach(({ queue, runAfterMs }, index) => {
      if (runAfterMs !== null) return
      const due = dueByQueue.get(queue)
      if (due) due.push(index)
      else dueByQueue.set(queue, [index])
    })
    for (const [queue, due] of dueByQueue) {
      const places = this.#dispatch.reserve(queue, due.length)
      if (places.length < due.length) due.sort((a, b) => (runs[b] as NewRun).priority - (runs[a] as NewRun).priority)
      places.forEach((place, index) => (takers[due[index] as number] = place))
    }
    return takers
  }
}

function salted(run: NewRun, index: number): NewRun {
  return { ...run, specHash: createHash('sha256').update(`${run.specHash}:${index}:${randomUUID()}`).digest('hex') }
}

/** Runs, and large ones as several. */
function weightOf(runs: NewRun[]): number {
  let weight = runs.length
  for (const { spec } of runs) weight += Math.floor(spec.length / CHARACTERS_PER_WEIGHT)
  return weight
}

function newborn(id: string, run: NewRun, { lease }: Place, slot: number): Leased {
  return { slot, run: id, lease, task: run.task, queue: run.queue, attempt: 1, maxAttempts: run.maxAttempts, timeoutMs: run.timeoutSeconds * 1_000, spec: run.spec, cancelRequested: false, retry: null, parents: null, checkpoint: null, crashes: null }
}
