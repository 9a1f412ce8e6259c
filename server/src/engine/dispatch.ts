import type { Db } from '../db/pool.js'
import type { Events } from '../events.js'
import { lease, type Leased, type Slot } from '../runs/lease.js'

/** Queues that share a number of free places. */
export interface FreeLane {
  queues: readonly string[]
  free: number
}

/** Somebody who takes runs: a link. The dispatcher knows nothing else of it. */
export interface Taker {
  readonly sessionId: string
  readonly workerId: string
  /** Free places now, by lane; empty while it is draining or slow. */
  freeLanes(): FreeLane[]
  /** Hands over leased runs. False: it is gone, the runs were not taken. */
  deliver(runs: Leased[]): boolean
}

export interface DispatchOptions {
  leaseMs: number
  /** Most runs of one lease statement. */
  batch?: number
  /** Wait before trying again when the database is away. */
  againMs?: number
  onError: (error: unknown) => void
  /** Leases that a taker did not take; they must go back uncounted. */
  onUndelivered: (runs: Leased[]) => void
}

/** A set of queues, and everyone's free places on exactly that set. */
interface Demand {
  queues: string[]
  slots: Slot[]
}

/**
 * Brings free places and ready runs together. It leases only when both may be there: `wake` says that a queue may have
 * ready runs, `freed` that a taker has room. A queue stays awake until a lease comes back short, so an idle broker asks nothing.
 */
export class Dispatch {
  readonly #db: Db
  readonly #events: Events
  readonly #options: DispatchOptions & { batch: number; againMs: number }
  readonly #takers = new Map<string, Taker>()
  readonly #awake = new Set<string>()
  #turning = false
  #stopped = false
  #first = 0

  constructor(db: Db, events: Events, options: DispatchOptions) {
    this.#db = db
    this.#events = events
    this.#options = { batch: 500, againMs: 500, ...options }
  }

  register(taker: Taker): void {
    this.#takers.set(taker.sessionId, taker)
    this.wakeAll()
  }

  unregister(taker: Taker): void {
    if (this.#takers.get(taker.sessionId) === taker) this.#takers.delete(taker.sessionId)
  }

  /** `queue` may have ready runs. */
  wake(queue: string): void {
    this.#awake.add(queue)
    this.#turn()
  }

  /** Any queue may have ready runs: after a reconnect, a resume, or just to be sure. */
  wakeAll(): void {
    for (const taker of this.#takers.values()) for (const lane of taker.freeLanes()) for (const queue of lane.queues) this.#awake.add(queue)
    this.#turn()
  }

  /** A taker has room again. */
  freed(): void {
    this.#turn()
  }

  stop(): void {
    this.#stopped = true
  }

  #turn() {
    if (this.#turning || this.#stopped || this.#awake.size === 0) return
    this.#turning = true
    // What frees up or wakes in this loop turn shares one statement.
    setImmediate(() => void this.#leaseAll())
  }

  async #leaseAll() {
    try {
      for (let demand = this.#nextDemand(); demand && !this.#stopped; demand = this.#nextDemand()) await this.#lease(demand)
    } catch (error) {
      this.#options.onError(error)
      setTimeout(() => this.wakeAll(), this.#options.againMs).unref()
    } finally {
      this.#turning = false
    }
  }

  async #lease({ queues, slots }: Demand) {
    // Asleep before asking: a wake-up that comes while the statement runs is not lost.
    for (const queue of queues) this.#awake.delete(queue)
    const { taken, runs } = await lease(this.#db, queues, slots, this.#options.leaseMs).catch((error: unknown) => {
      for (const queue of queues) this.#awake.add(queue)
      throw error
    })
    if (taken === slots.length) for (const queue of queues) this.#awake.add(queue)
    this.#deliver(runs, slots)
  }

  #deliver(runs: Leased[], slots: Slot[]) {
    const bySession = new Map<string, Leased[]>()
    for (const run of runs) {
      const { sessionId } = slots[run.slot] as Slot
      const dealt = bySession.get(sessionId)
      if (dealt) dealt.push(run)
      else bySession.set(sessionId, [run])
    }
    for (const [sessionId, dealt] of bySession) {
      const taker = this.#takers.get(sessionId)
      if (!taker?.deliver(dealt)) {
        this.#options.onUndelivered(dealt)
        continue
      }
      for (const { run, queue, task, attempt } of dealt) this.#events.emit('run.leased', { runId: run, queue, task, attempt, workerId: taker.workerId })
    }
  }

  /** A set of awake queues that anyone has room for, with the room of all who have it, dealt out in turns. */
  #nextDemand(): Demand | undefined {
    const bySet = new Map<string, { queues: string[]; lanes: { slot: Slot; free: number }[] }>()
    for (const taker of this.#takers.values()) {
      for (const { queues, free } of taker.freeLanes()) {
        const awake = queues.filter((queue) => this.#awake.has(queue)).toSorted()
        if (free === 0 || awake.length === 0) continue
        const key = awake.join('\0')
        const demand = bySet.get(key) ?? { queues: awake, lanes: [] }
        bySet.set(key, demand)
        demand.lanes.push({ slot: { sessionId: taker.sessionId, workerId: taker.workerId }, free })
      }
    }
    if (bySet.size === 0) return undefined
    // Sets take turns, so that a busy one keeps no other waiting; in a set somebody else begins each time, so that a
    // trickle of runs is shared too.
    const turn = this.#first++
    const { queues, lanes } = [...bySet.values()][turn % bySet.size] as { queues: string[]; lanes: { slot: Slot; free: number }[] }
    const start = Math.floor(turn / bySet.size) % lanes.length
    return { queues, slots: dealOut([...lanes.slice(start), ...lanes.slice(0, start)], this.#options.batch) }
  }
}

/** One place from each lane in turn, until all are dealt or the batch is full. */
function dealOut(lanes: { slot: Slot; free: number }[], batch: number): Slot[] {
  const slots: Slot[] = []
  for (let round = 0; slots.length < batch; round++) {
    const open = lanes.filter((lane) => lane.free > round)
    if (open.length === 0) break
    for (const lane of open) {
      if (slots.length === batch) break
      slots.push(lane.slot)
    }
  }
  return slots
}
