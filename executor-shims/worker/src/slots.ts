import type { HeldLease, LeasedRun, Verdict } from '../../../protocol/src/index.js'
import type { Assignment } from './executor.js'
import { StopSource } from './stop-signal.js'

/**
 * `waiting` (accepted, not started) → `running` → `done` (its result is not yet confirmed).
 * `gone`: it is no longer ours (lost, finalized, given back), though its code may still be stopping.
 */
export type HeldState = 'waiting' | 'running' | 'done' | 'gone'

/** A run this process holds a lease of. */
export interface HeldRun {
  readonly assignment: Assignment
  /** What the executor watches. */
  readonly stopping: StopSource
  /** Name of the lease on the present link. */
  l: number
  state: HeldState
  /** The broker asked to cancel it, which has to be answered with a result. */
  cancelRequested: boolean
  /** Nothing else of this worker may run beside it. */
  readonly alone: boolean
}

/** What the broker said of everything held when it welcomed this process again. */
export interface Reconciled {
  /** Still ours, and somebody asked to cancel it. */
  cancelled: HeldRun[]
  /** Done here and stored there: the confirmation was lost on the way. */
  confirmed: HeldRun[]
  /** No longer ours. */
  gone: HeldRun[]
}

/** Which runs this process holds and which of them run. Pure: no clock, no socket, no executor. */
export class Slots {
  readonly #concurrency: number
  readonly #byHandle = new Map<number, HeldRun>()
  /** First come, first started. One that is no longer waiting when its turn comes is passed over. */
  #queue: HeldRun[] = []
  /** Where in `#queue` the next one is: taking from the front of an array, or of a Set, costs as much as it is long. */
  #next = 0
  #occupied = 0
  #alone: HeldRun | undefined

  constructor(concurrency: number) {
    this.#concurrency = concurrency
  }

  /** Slots in use, also by code that is being stopped and whose lease is gone. */
  get occupied(): number {
    return this.#occupied
  }

  /** The one that runs alone, or is the next to. */
  get loner(): HeldRun | undefined {
    return this.#alone ?? this.waiting().find(({ alone }) => alone)
  }

  /** Leases held. */
  get size(): number {
    return this.#byHandle.size
  }

  get(l: number): HeldRun | undefined {
    return this.#byHandle.get(l)
  }

  all(): HeldRun[] {
    return [...this.#byHandle.values()]
  }

  waiting(): HeldRun[] {
    return this.#queue.slice(this.#next).filter(({ state }) => state === 'waiting')
  }

  /** Of what is ours and runs or waits, what waits beyond `most`: what came last. */
  beyond(most: number): HeldRun[] {
    const running = this.all().filter(({ state }) => state === 'running').length
    return this.waiting().slice(Math.max(0, most - running))
  }

  handles(): number[] {
    return [...this.#byHandle.keys()]
  }

  /** For `hello`: everything still held, by its proof. */
  held(): HeldLease[] {
    return this.all().map(({ assignment: { run, lease }, state }) => ({ run, lease, state: state === 'done' ? 'done' : 'running' }))
  }

  add(leased: LeasedRun, alone = false): HeldRun {
    const held: HeldRun = { assignment: leased, stopping: new StopSource(), l: leased.l, state: 'waiting', cancelRequested: false, alone }
    this.#byHandle.set(held.l, held)
    this.#queue.push(held)
    return held
  }

  /** The next run to start, now running; undefined when none waits or no slot is free. */
  startNext(): HeldRun | undefined {
    while (this.#occupied < this.#concurrency && !this.#alone && this.#next < this.#queue.length) {
      const held = this.#queue[this.#next] as HeldRun
      if (held.alone && held.state === 'waiting' && this.#occupied > 0) return undefined
      this.#next++
      if (this.#next * 2 >= this.#queue.length) this.#dropStarted()
      if (held.state !== 'waiting') continue
      if (held.alone) this.#alone = held
      held.state = 'running'
      this.#occupied++
      return held
    }
    return undefined
  }

  /** Its code has ended: the slot is free. False: the lease was gone before, there is nothing to report. */
  ended(held: HeldRun): boolean {
    this.#occupied--
    if (this.#alone === held) this.#alone = undefined
    if (held.state === 'gone') return false
    held.state = 'done'
    return true
  }

  /** A waiting run that will not be started: what remains is to say so. */
  skip(held: HeldRun): void {
    held.state = 'done'
  }

  /** No longer ours. Running code keeps its slot until it has ended. */
  remove(held: HeldRun): void {
    if (this.#byHandle.get(held.l) === held) this.#byHandle.delete(held.l)
    held.state = 'gone'
  }

  /** Called when that is half of the queue, so that each run is moved once at most, on average. */
  #dropStarted() {
    this.#queue = this.#queue.slice(this.#next)
    this.#next = 0
  }

  /** A new link: new handles. A lease the broker says nothing about is none. */
  reconcile(verdicts: readonly Verdict[]): Reconciled {
    const byLease = new Map(verdicts.map((verdict) => [verdict.lease, verdict]))
    const before = this.all()
    this.#byHandle.clear()
    const reconciled: Reconciled = { cancelled: [], confirmed: [], gone: [] }
    for (const held of before) {
      const { verdict, l } = byLease.get(held.assignment.lease) ?? { verdict: 'lost' as const }
      if (verdict === 'finalized' && held.state === 'done') reconciled.confirmed.push(held)
      else if (l === undefined || verdict === 'lost' || verdict === 'finalized') reconciled.gone.push(held)
      else {
        held.l = l
        this.#byHandle.set(l, held)
        if (verdict === 'cancel') reconciled.cancelled.push(held)
      }
    }
    for (const held of [...reconciled.confirmed, ...reconciled.gone]) this.remove(held)
    return reconciled
  }
}
