import type { HeldRun } from './slots.js'

/** `queued`: to be sent; `sent`: the answer is awaited; `postponed`: to be sent again from `dueAt` on. */
interface Entry {
  held: HeldRun
  /** The result as JSON, without its handle. */
  text: string
  bytes: number
  state: 'queued' | 'sent' | 'postponed'
  dueAt: number
}

/** Bounds of one `result` frame. */
export interface FrameLimits {
  items: number
  bytes: number
}

/** What the protocol allows in one frame, whatever the broker says. */
const MOST_ITEMS = 1_000
const HEAD = '{"t":"result","items":['
const TAIL = ']}'

/**
 * Results that the broker has not confirmed. It never drops one: when it is full, the worker must stop taking runs.
 * Pure: no clock, no socket.
 */
export class Outbox {
  readonly #maxCount: number
  readonly #maxBytes: number
  readonly #entries = new Map<HeldRun, Entry>()
  #queued: Entry[] = []
  #bytes = 0

  constructor(maxCount: number, maxBytes: number) {
    this.#maxCount = maxCount
    this.#maxBytes = maxBytes
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#bytes
  }

  get isFull(): boolean {
    return this.#entries.size >= this.#maxCount || this.#bytes >= this.#maxBytes
  }

  /** Room enough to take runs again: some distance from full, so that the window does not flutter. */
  get isRoomy(): boolean {
    return this.#entries.size <= this.#maxCount / 2 && this.#bytes <= this.#maxBytes / 2
  }

  add(held: HeldRun, text: string): void {
    const entry: Entry = { held, text, bytes: Buffer.byteLength(text), state: 'queued', dueAt: 0 }
    this.#entries.set(held, entry)
    this.#queued.push(entry)
    this.#bytes += entry.bytes
  }

  /** Confirmed, finally refused, or no longer ours. */
  remove(held: HeldRun): void {
    const entry = this.#entries.get(held)
    if (!entry) return
    this.#entries.delete(held)
    this.#bytes -= entry.bytes
    // Its place in the queue is skipped when its turn comes.
    entry.state = 'sent'
  }

  postpone(held: HeldRun, dueAt: number): void {
    const entry = this.#entries.get(held)
    if (entry?.state !== 'sent') return
    entry.state = 'postponed'
    entry.dueAt = dueAt
  }

  /** A new link: nothing of what was sent on the old one is known to have arrived. */
  requeue(): void {
    this.#queued = [...this.#entries.values()]
    for (const entry of this.#queued) entry.state = 'queued'
  }

  /** Queues what is due. Returns when the next postponed one is, if any. */
  wakePostponed(now: number): number | undefined {
    let next: number | undefined
    for (const entry of this.#entries.values()) {
      if (entry.state !== 'postponed') continue
      if (entry.dueAt <= now) {
        entry.state = 'queued'
        this.#queued.push(entry)
      } else next = Math.min(next ?? entry.dueAt, entry.dueAt)
    }
    return next
  }

  /** The next `result` frame as text, oldest results first; undefined when nothing is queued. */
  nextFrame({ items, bytes }: FrameLimits): string | undefined {
    const texts: string[] = []
    let size = HEAD.length + TAIL.length
    let taken = 0
    for (const entry of this.#queued) {
      if (entry.state === 'queued') {
        const text = `{"l":${entry.held.l},${entry.text.slice(1)}`
        const added = entry.bytes + (text.length - entry.text.length) + 1
        const isFull = texts.length === Math.min(items, MOST_ITEMS) || size + added > bytes
        if (isFull && texts.length > 0) break
        texts.push(text)
        size += added
        entry.state = 'sent'
      }
      taken++
    }
    this.#queued.splice(0, taken)
    return texts.length > 0 ? HEAD + texts.join(',') + TAIL : undefined
  }
}
