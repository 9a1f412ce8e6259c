import type { ReleaseReason, WorkerFrame } from '../../../protocol/src/index.js'
import type { Link, Welcome } from './link.js'
import { Outbox } from './outbox.js'
import { fitted, type Report } from './result-item.js'
import type { HeldRun } from './slots.js'

export interface AnswersOptions {
  link: Pick<Link, 'isOpen' | 'bufferedBytes' | 'send'>
  /** Milliseconds, monotonic. */
  now: () => number
  /** Looks at the clock; false while the leases cannot be trusted. */
  trusted(): boolean
  /** The broker was told that we give this one back: it is no longer ours. */
  returned(held: HeldRun, reason: ReleaseReason): void
}

const OUTBOX_COUNT = 5_000
const OUTBOX_BYTES = 67_108_864
/** What we do not serve must not come straight back to us: another worker gets to lease it. */
const UNSUPPORTED_DELAY_MS = 1_000
/** With more than this on its way, results wait, so that a heartbeat is never far behind in the socket. */
const BUSY_BYTES = 1_048_576

/** What this process owes the broker for the runs it was given. Results and releases of one turn of the event loop go out together. */
export class Answers {
  readonly #options: AnswersOptions
  readonly #outbox = new Outbox(OUTBOX_COUNT, OUTBOX_BYTES)
  readonly #returning = new Map<HeldRun, { reason: ReleaseReason; delayMs: number }>()
  #limits: Welcome['limits'] = { frame: 0, payload: 0, output: 0, window: 0, batch: 1 }
  #flush: NodeJS.Immediate | undefined
  #postponed: NodeJS.Timeout | undefined

  constructor(options: AnswersOptions) {
    this.#options = options
  }

  /** So many results are unconfirmed that no more runs should be taken. */
  get isFull(): boolean {
    return this.#outbox.isFull
  }

  get isRoomy(): boolean {
    return this.#outbox.isRoomy
  }

  /** Said at once, before the first of them starts: one that takes this process down with it must count as an attempt. */
  accept(l: number[]): void {
    this.#send({ t: 'accept', l })
  }

  report(held: HeldRun, report: Report): void {
    this.#outbox.add(held, fitted(report, this.#limits))
    this.#flushSoon()
  }

  /** `delayMs`: it is not to come back before. */
  giveBack(held: HeldRun, reason: ReleaseReason, delayMs = reason === 'unsupported_task' ? UNSUPPORTED_DELAY_MS : 0): void {
    this.#returning.set(held, { reason, delayMs })
    this.#flushSoon()
  }

  /** Nothing is owed for it any more. */
  forget(held: HeldRun): void {
    this.#outbox.remove(held)
    this.#returning.delete(held)
  }

  /** Its result could not be stored; it is sent again in `ms`. */
  postpone(held: HeldRun, ms: number): void {
    this.#outbox.postpone(held, this.#options.now() + ms)
    this.#wakePostponed()
  }

  /** On a new link everything unconfirmed is sent again. */
  welcomed(limits: Welcome['limits']): void {
    this.#limits = limits
    this.#outbox.requeue()
    this.#flushSoon()
  }

  /** Trust is back: results may go out again. */
  regained(): void {
    this.#flushSoon()
  }

  /** Sends what there is now. */
  flush(): void {
    clearImmediate(this.#flush)
    this.#flush = undefined
    const isTrusted = this.#options.trusted()
    if (!this.#options.link.isOpen) return
    this.#sendReturning()
    // Results made beyond the deadline wait until the broker says that the leases are still ours.
    if (isTrusted) this.#sendResults()
  }

  stop(): void {
    clearImmediate(this.#flush)
    clearTimeout(this.#postponed)
  }

  #flushSoon() {
    this.#flush ??= setImmediate(() => this.flush())
  }

  /**
   * A release has no answer. If it gets lost, the next heartbeat or hello no longer names the lease, which says the same.
   * It is right at any time, even of a lease that may be over.
   */
  #sendReturning() {
    if (this.#returning.size === 0) return
    const returning = [...this.#returning]
    if (!this.#send({ t: 'release', items: returning.map(([held, { reason, delayMs }]) => ({ l: held.l, reason, ...(delayMs > 0 && { delay_ms: Math.ceil(delayMs) }) })) })) return
    this.#returning.clear()
    for (const [held, { reason }] of returning) this.#options.returned(held, reason)
  }

  #sendResults() {
    while (this.#options.link.bufferedBytes < BUSY_BYTES) {
      const frame = this.#outbox.nextFrame({ items: this.#limits.batch, bytes: this.#limits.frame })
      if (frame === undefined) return
      this.#options.link.send(frame, () => this.#flushSoon())
    }
  }

  #wakePostponed() {
    clearTimeout(this.#postponed)
    const next = this.#outbox.wakePostponed(this.#options.now())
    if (next !== undefined) this.#postponed = setTimeout(() => this.#wakePostponed(), Math.max(1, next - this.#options.now()))
    this.#flushSoon()
  }

  #send(frame: Extract<WorkerFrame, { t: 'accept' | 'release' }>): boolean {
    return this.#options.link.send(JSON.stringify(frame))
  }
}
