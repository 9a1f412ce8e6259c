import { randomUUID } from 'node:crypto'
import { sqlState, type Db } from '../db/pool.js'
import type { Events } from '../events.js'
import { lease, leaseGated, type Leased, type Slot } from '../runs/lease.js'
import { Watermarks } from './watermarks.js'

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
  /** Most bytes of what a run is given of its parents. */
  parentsBytes?: number | undefined
  /** Most runs of one lease statement. */
  batch?: number
  /** Wait before trying again when the database is away, and where somebody holds runs locked. */
  againMs?: number
  /** `uncertain`: leases may have been written that nobody knows. */
  onError: (error: unknown, uncertain: boolean) => void
  /** A queue has ready runs and nobody here has room for them; somebody elsewhere may. */
  onUnserved?: (queue: string) => void
  /** Keys have got room in passing, for runs that wait for it. */
  onFreed?: () => void
  /** A rate limit that runs wait for has its next token in so many milliseconds. */
  onRefill?: (delayMs: number) => void
  /** Leases that a taker did not take; they must go back uncounted. */
  onUndelivered: (runs: Leased[]) => void
}

/** A free place of a taker, with the lane it belongs to, and the places that were promised together with it. */
export interface Place extends Slot {
  readonly lane: readonly string[]
  readonly lease: string
  readonly deal: Deal
}

/** Places that one statement may fill. */
type Deal = Place[]

const LOCK_NOT_AVAILABLE = '55P03'

/** Whether an error leaves it open what was written: no answer came, so something may have been. */
const isUncertain = (error: unknown): boolean => sqlState(error) === undefined

/** A set of queues, and everyone's free places on exactly that set. */
interface Demand {
  queues: string[]
  slots: Place[]
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
  /** Queues that a lease statement on its way is asking. */
  readonly #asked = new Set<string>()
  /** Queues where runs had to be asked for one by one the last time; the slower statement leases from them until it meets none. */
  readonly #gated = new Set<string>()
  /** Places, by lane, that statements on their way may fill. */
  readonly #promised = new WeakMap<readonly string[], number>()
  /** Places with leases that statements on their way may be writing. */
  readonly #flying = new Set<Deal>()
  readonly #watermarks = new Watermarks()
  /** Queues in which somebody holds runs locked, to be asked again when the timer is over. */
  readonly #held = new Set<string>()
  #turning = false
  #statement: Promise<void> | undefined
  #stopped = false
  #first = 0

  constructor(db: Db, events: Events, options: DispatchOptions) {
    this.#db = db
    this.#events = events
    this.#options = { batch: 2_000, againMs: 500, ...options }
  }

  register(taker: Taker): void {
    this.#takers.set(taker.sessionId, taker)
    this.wakeAll()
  }

  unregister(taker: Taker): void {
    if (this.#takers.get(taker.sessionId) === taker) this.#takers.delete(taker.sessionId)
  }

  /** `queue` has ready runs, made ready here. */
  wake(queue: string): void {
    this.hinted(queue)
    if (!this.#hasRoomFor(queue)) this.#options.onUnserved?.(queue)
  }

  /** Somebody else says that `queue` may have ready runs. */
  hinted(queue: string): void {
    // A queue that nobody here takes from wakes when somebody does; until then its name is not kept.
    if (!this.#isTaken(queue)) return
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

  /**
   * Free places for runs about to be written, so that they can be born leased: at most `most`, and none while anything ready
   * may stand before them in the queue. They stay promised until `redeem`.
   */
  reserve(queue: string, most: number): Place[] {
    if (this.#stopped || most === 0 || this.#awake.has(queue) || this.#asked.has(queue)) return []
    const lanes = this.#freePlaces().filter(({ place }) => place.lane.includes(queue))
    return this.#promise(dealOut(rotated(lanes, this.#first++), most))
  }

  /** How many runs could be born leased now, in any queue. */
  get room(): number {
    if (this.isBehind) return 0
    let room = 0
    for (const { free } of this.#freePlaces()) room += free
    return room
  }

  /** Ready runs wait, as far as is known. */
  get isBehind(): boolean {
    return this.#awake.size > 0 || this.#asked.size > 0
  }

  get isBusy(): boolean {
    return this.#turning
  }

  /** Resolves when the lease statement that is on its way has ended, well or badly; at once when there is none. */
  turn(): Promise<void> {
    return this.#statement?.catch(() => undefined) ?? Promise.resolve()
  }

  /** Whether a statement on its way may be writing this lease, so that nobody can know it yet. */
  isFlying(lease: string): boolean {
    for (const deal of this.#flying) if (deal.some((place) => place.lease === lease)) return true
    return false
  }

  /** The statement is over: `runs` (slot = index into `places`) were written and go to their takers; the places are no longer promised. */
  redeem(places: (Place | undefined)[], runs: Leased[]): void {
    const deals = new Set<Deal>()
    let last: Deal | undefined
    for (const place of places) if (place && place.deal !== last) deals.add((last = place.deal))
    for (const deal of deals) this.#count(deal, -1)
    this.#deliver(runs, places)
    for (const deal of deals) this.#flying.delete(deal)
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
      for (let demand = this.#nextDemand(); demand && !this.#stopped; demand = this.#nextDemand()) {
        this.#statement = this.#lease(demand)
        await this.#statement
      }
    } catch (error) {
      this.#options.onError(error, isUncertain(error))
      setTimeout(() => this.wakeAll(), this.#options.againMs).unref()
    } finally {
      this.#statement = undefined
      this.#turning = false
    }
  }

  async #lease({ queues, slots }: Demand) {
    // Asleep before asking: a wake-up that comes while the statement runs is not lost.
    for (const queue of queues) {
      this.#awake.delete(queue)
      this.#asked.add(queue)
    }
    let leased: Leased[] = []
    let drained = false
    try {
      const { runs, more } = queues.some((queue) => this.#gated.has(queue)) ? await this.#leaseGated(queues, slots) : await this.#leaseFreely(queues, slots)
      leased = runs
      drained = !more
    } finally {
      for (const queue of queues) {
        this.#asked.delete(queue)
        if (!drained) this.#awake.add(queue)
      }
      this.redeem(slots, leased)
    }
    if (drained) return
    for (const queue of queues) if (!this.#hasRoomFor(queue)) this.#options.onUnserved?.(queue)
  }

  async #leaseFreely(queues: string[], slots: Place[]) {
    const turn = lease(this.#db, queues, slots, this.#options.leaseMs, this.#options.parentsBytes, this.#watermarks.of(queues))
    const { taken, reached, gated, runs } = await turn.catch((error: unknown) => {
      // Somebody holds a ready run. The other statement passes over it; this one would pay for that with every run.
      if (sqlState(error) === LOCK_NOT_AVAILABLE) return { taken: 0, reached: new Map<string, string>(), gated: true, runs: [] }
      throw error
    })
    if (gated) for (const queue of queues) this.#gated.add(queue)
    if (taken === slots.length) {
      this.#watermarks.reached(reached)
      return { runs, more: true }
    }
    // Nothing is left behind the marks; whether that is all is known at the head.
    return { runs, more: this.#watermarks.forget(queues) || gated }
  }

  async #leaseGated(queues: string[], slots: Place[]) {
    const { gated, more, skipped, freed, nextMs, woken, expired, runs } = await leaseGated(this.#db, queues, slots, this.#options.leaseMs, undefined, this.#options.parentsBytes)
    if (!gated && skipped === 0) for (const queue of queues) this.#gated.delete(queue)
    if (skipped > 0) this.#askAgain(queues)
    if (freed) this.#options.onFreed?.()
    if (nextMs !== null) this.#options.onRefill?.(nextMs)
    for (const { run, queue, task } of expired) {
      this.#events.emit('run.settled', { runId: run, queue, task, status: 'CANCELLED', attempt: 0, workerId: undefined, cause: 'expired', delayMs: 0, wallMs: undefined })
    }
    for (const queue of woken) if (!queues.includes(queue)) this.wake(queue)
    return { runs, more }
  }

  /** Nobody tells when a lock is let go: asked again in a moment, and not at once. */
  #askAgain(queues: string[]) {
    if (this.#held.size === 0) {
      setTimeout(() => {
        for (const queue of this.#held) this.#awake.add(queue)
        this.#held.clear()
        this.#turn()
      }, this.#options.againMs).unref()
    }
    for (const queue of queues) this.#held.add(queue)
  }

  #deliver(runs: Leased[], slots: (Slot | undefined)[]) {
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
    const bySet = new Map<string, { queues: string[]; lanes: FreePlaces[] }>()
    for (const free of this.#freePlaces()) {
      const awake = free.place.lane.filter((queue) => this.#awake.has(queue)).toSorted()
      if (awake.length === 0) continue
      const key = awake.join('\0')
      const demand = bySet.get(key) ?? { queues: awake, lanes: [] }
      bySet.set(key, demand)
      demand.lanes.push(free)
    }
    if (bySet.size === 0) return undefined
    // Sets take turns, so that a busy one keeps no other waiting; in a set another worker and another queue begin each time,
    // so that a trickle of runs, and of room, is shared too.
    const turn = this.#first++
    const { queues, lanes } = [...bySet.values()][turn % bySet.size] as { queues: string[]; lanes: FreePlaces[] }
    const round = Math.floor(turn / bySet.size)
    return { queues: rotated(queues, round), slots: this.#promise(dealOut(rotated(lanes, round), this.#options.batch)) }
  }

  /** Every lane with room that is not promised already. */
  #freePlaces(): FreePlaces[] {
    const places: FreePlaces[] = []
    for (const taker of this.#takers.values()) {
      for (const { queues, free } of taker.freeLanes()) {
        const left = free - (this.#promised.get(queues) ?? 0)
        if (left > 0) places.push({ place: { sessionId: taker.sessionId, workerId: taker.workerId, lane: queues }, free: left })
      }
    }
    return places
  }

  #hasRoomFor(queue: string): boolean {
    return this.#freePlaces().some(({ place }) => place.lane.includes(queue))
  }

  #isTaken(queue: string): boolean {
    for (const taker of this.#takers.values()) if (taker.freeLanes().some(({ queues }) => queues.includes(queue))) return true
    return false
  }

  #promise(deal: Deal): Deal {
    if (deal.length > 0) this.#flying.add(deal)
    this.#count(deal, 1)
    return deal
  }

  /** Neighbours are mostly of one lane, so each stretch of them is counted once. */
  #count(deal: Deal, sign: 1 | -1) {
    for (let from = 0, to = 0; from < deal.length; from = to) {
      const { lane } = deal[from] as Place
      while (deal[to]?.lane === lane) to++
      this.#promised.set(lane, (this.#promised.get(lane) ?? 0) + sign * (to - from))
    }
  }
}

interface FreePlaces {
  place: Omit<Place, 'lease' | 'deal'>
  free: number
}

function rotated<T>(items: T[], by: number): T[] {
  const start = items.length === 0 ? 0 : by % items.length
  return [...items.slice(start), ...items.slice(0, start)]
}

/** One place from each lane in turn, until all are dealt or there are enough. */
function dealOut(lanes: FreePlaces[], most: number): Deal {
  const deal: Deal = []
  for (let open = lanes, round = 0; open.length > 0 && deal.length < most; round++) {
    for (const { place } of open) {
      if (deal.length === most) break
      const { sessionId, workerId, lane } = place
      deal.push({ sessionId, workerId, lane, lease: randomUUID(), deal })
    }
    open = open.filter((lane) => lane.free > round + 1)
  }
  return deal
}
