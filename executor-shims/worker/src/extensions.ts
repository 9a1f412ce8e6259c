import type { ExtendedItem, WorkerFrame } from '../../../protocol/src/index.js'
import { ExtendRefused } from '../../../sdk-ts/src/errors.js'
import type { Link, Welcome } from './link.js'
import type { HeldRun } from './slots.js'

export interface ExtensionsOptions {
  link: Pick<Link, 'send'>
}

interface Question {
  timeoutMs: number
  granted(timeoutMs: number): void
  refused(error: ExtendRefused): void
}

const RETRY_MS = 1_000

/** Asks the broker for other run-time limits, for code that runs here. Of one run a single question is under way at a time. */
export class Extensions {
  readonly #options: ExtensionsOptions
  readonly #open = new Map<HeldRun, Question[]>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #isUnderstood = false

  constructor(options: ExtensionsOptions) {
    this.#options = options
  }

  /**
   * Sets the time the run has left, here and at the broker; says what was granted, which may be less. Without a connection it waits for
   * the next one. Rejects with ExtendRefused.
   */
  async ask(held: HeldRun, timeoutMs: number): Promise<number> {
    if (!this.#isUnderstood) throw new ExtendRefused(held.assignment, 'unsupported')
    if (held.stopping.aborted) throw new ExtendRefused(held.assignment, whyStopped(held))
    if (held.state !== 'running') throw new ExtendRefused(held.assignment, 'stale_lease')
    return new Promise((granted, refused) => {
      const questions = this.#open.get(held)
      if (questions) return void questions.push({ timeoutMs, granted, refused })
      this.#open.set(held, [{ timeoutMs, granted, refused }])
      held.stopping.addEventListener('abort', () => this.forget(held, whyStopped(held)))
      this.#send(held)
    })
  }

  answered(held: HeldRun, { timeout_ms, code = 'stale_lease', retry_after_ms = RETRY_MS }: ExtendedItem): void {
    const question = this.#open.get(held)?.[0]
    if (!question) return
    if (timeout_ms === undefined && code === 'temporary') return this.#sendIn(held, retry_after_ms)
    this.#drop(held)
    if (timeout_ms === undefined) return question.refused(new ExtendRefused(held.assignment, code))
    held.stopping.limit(timeout_ms)
    question.granted(timeout_ms)
  }

  /** What is not answered yet is asked anew: it sets the same time. */
  welcomed({ caps }: Pick<Welcome, 'caps'>): void {
    this.#isUnderstood = caps.includes('extend')
    for (const held of [...this.#open.keys()]) {
      if (this.#isUnderstood) this.#send(held)
      else this.forget(held, 'unsupported')
    }
  }

  /** Its code has ended, or its lease is over. */
  forget(held: HeldRun, why: 'stopping' | 'stale_lease' | 'unsupported' = 'stale_lease'): void {
    const questions = this.#open.get(held)
    this.#open.delete(held)
    for (const { refused } of questions ?? []) refused(new ExtendRefused(held.assignment, why))
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    for (const held of [...this.#open.keys()]) this.forget(held)
  }

  #drop(held: HeldRun): void {
    const questions = this.#open.get(held)?.slice(1) ?? []
    if (questions.length === 0) return void this.#open.delete(held)
    this.#open.set(held, questions)
    this.#send(held)
  }

  #sendIn(held: HeldRun, ms: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#send(held)
    }, ms)
    this.#timers.add(timer)
  }

  #send(held: HeldRun): void {
    const question = this.#open.get(held)?.[0]
    if (!question) return
    const frame: WorkerFrame = { t: 'extend', items: [{ l: held.l, timeout_ms: question.timeoutMs }] }
    this.#options.link.send(JSON.stringify(frame))
  }
}

const whyStopped = ({ stopping }: HeldRun) => (stopping.reason?.reason === 'lost_lease' ? 'stale_lease' : 'stopping')
