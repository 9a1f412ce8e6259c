import type { ReleaseReason } from '../../../protocol/src/index.js'
import type { Answers } from './answers.js'
import type { Assignment, Executor } from './executor.js'
import type { Intake } from './intake.js'
import type { Outages } from './outages.js'
import type { HeldRun, Slots } from './slots.js'

export interface ReturnsOptions {
  slots: Slots
  answers: Answers
  intake: Intake
  outages: Outages
  executorOf(assignment: Assignment): Executor | undefined
}

/** Gives runs back, at no cost for them, when others should run them. */
export class Returns {
  readonly #options: ReturnsOptions

  constructor(options: ReturnsOptions) {
    this.#options = options
  }

  /** `delayMs`: it is not to come back before. */
  one(held: HeldRun, reason: ReleaseReason, delayMs?: number): void {
    if (held.state === 'waiting') this.#options.slots.skip(held)
    this.#options.answers.giveBack(held, reason, delayMs)
  }

  /** All that waits. */
  all(reason: ReleaseReason): void {
    for (const held of this.#options.slots.waiting()) this.one(held, reason)
  }

  /**
   * Of what runs and waits, what waits beyond `most`: other workers may be free for it. Where the broker knows that no more is
   * asked for, it cannot come straight back.
   */
  beyond(most: number): void {
    const { slots, intake } = this.#options
    if (intake.isDraining || intake.isAlone) return
    for (const held of slots.beyond(most)) this.one(held, 'overload')
  }

  /**
   * Before a run that is to be alone starts, what waits is given back and nothing more is taken: whoever waits behind it may
   * wait long, and would be counted as one of its victims should it end this process.
   */
  clearTheWay(): void {
    const { slots, intake, answers } = this.#options
    intake.alone(true)
    const { loner } = slots
    for (const held of slots.waiting()) if (held !== loner) this.one(held, 'preempted')
    answers.flush()
  }

  /** What waits for executors that are broken here. */
  ofBroken(): void {
    for (const held of this.#options.slots.waiting()) this.oneIfBroken(held)
  }

  /** If its executor is broken here. Where the queue stays open for the sake of others, it must not come straight back. */
  oneIfBroken(held: HeldRun): void {
    const { outages, executorOf } = this.#options
    const executor = executorOf(held.assignment)
    if (!executor) return
    const leftMs = outages.leftMs(executor)
    if (leftMs > 0) this.one(held, 'overload', outages.isOpen(held.assignment.queue) ? leftMs : 0)
  }
}
