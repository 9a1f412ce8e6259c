import { createHash } from 'node:crypto'
import { sqlState, type Db } from '../db/pool.js'
import type { Events } from '../events.js'
import { enqueue, type Placed } from '../runs/enqueue.js'
import type { NewRun } from '../runs/spec.js'
import { GroupCommit } from './group-commit.js'

const UNIQUE_VIOLATION = '23505'
const BATCH = 2_000

/** Takes in runs: requests that arrive together share a statement, each request stays all or nothing. */
export class Ingest {
  readonly #events: Events
  readonly #ready: (queue: string) => void
  readonly #scheduled: (delayMs: number) => void
  readonly #plain: GroupCommit<NewRun[], Placed[]>
  readonly #keyed: GroupCommit<NewRun[], Placed[]>

  /** `ready` and `scheduled` are told after the commit. */
  constructor(db: Db, events: Events, ready: (queue: string) => void, scheduled: (delayMs: number) => void) {
    this.#events = events
    this.#ready = ready
    this.#scheduled = scheduled
    const group = () =>
      new GroupCommit<NewRun[], Placed[]>(
        async (requests) => {
          const placed = await enqueue(db, requests.flat())
          let from = 0
          return requests.map((runs) => placed.slice(from, (from += runs.length)))
        },
        { limit: BATCH, weight: (runs) => runs.length },
      )
    // Apart, because a batch with keys takes the slower statement.
    this.#plain = group()
    this.#keyed = group()
  }

  /** Stores all of `runs`, or none. In their order. */
  async enqueue(runs: NewRun[]): Promise<Placed[]> {
    const placed = await this.#store(runs)
    runs.forEach(({ queue, task }, index) => {
      const { id, deduplicated, delayMs } = placed[index] as Placed
      if (deduplicated) return
      this.#events.emit('run.enqueued', { runId: id, queue, task })
      if (delayMs > 0) this.#scheduled(delayMs)
      else this.#ready(queue)
    })
    return placed
  }

  async #store(runs: NewRun[]): Promise<Placed[]> {
    const group = runs.some((run) => run.idempotencyKey !== null) ? this.#keyed : this.#plain
    try {
      return await group.add(runs)
    } catch (error) {
      // A database that the Go schema made allows one active run per spec_hash. Nobody asked us to merge twins, so these
      // runs are told apart; enqueueing is not refused.
      if (sqlState(error) !== UNIQUE_VIOLATION) throw error
      return group.add(runs.map((run, index) => ({ ...run, specHash: createHash('sha256').update(`${run.specHash}:${index}:${process.hrtime.bigint()}`).digest('hex') })))
    }
  }
}
