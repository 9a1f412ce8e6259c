import { sqlState } from '../db/pool.js'

interface Entry<Item, Out> {
  item: Item
  resolve: (out: Out) => void
  reject: (error: unknown) => void
}

export interface GroupCommitOptions<Item> {
  /** Most weight of one statement. */
  limit: number
  /** How much of the limit an item takes. Default 1. */
  weight?: (item: Item) => number
}

/** Locks taken in an unlucky order, or a serialization failure: the same statement may simply be sent again. */
const TRY_AGAIN_STATES = new Set(['40P01', '40001'])

/**
 * One statement for everything that arrives while the previous statement is on its way. Idle, an item waits for the end
 * of the current loop turn and no longer; busy, batches form by themselves. There is no timer.
 *
 * `run` is one atomic statement and answers per item, in order. A statement the database refuses for its data is cut in
 * halves until the bad item stands alone: it fails, the others go on.
 */
export class GroupCommit<Item, Out> {
  readonly #run: (items: Item[]) => Promise<Out[]>
  readonly #options: GroupCommitOptions<Item>
  #waiting: Entry<Item, Out>[] = []
  #busy = false

  constructor(run: (items: Item[]) => Promise<Out[]>, options: GroupCommitOptions<Item>) {
    this.#run = run
    this.#options = options
  }

  /** Resolves after the commit. Rejects with the database's error for this item alone. */
  add(item: Item): Promise<Out> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject })
      if (this.#busy) return
      this.#busy = true
      setImmediate(() => void this.#drain())
    })
  }

  async #drain() {
    while (this.#waiting.length > 0) await this.#commit(this.#take())
    this.#busy = false
  }

  #take(): Entry<Item, Out>[] {
    const { limit, weight = () => 1 } = this.#options
    let total = 0
    let count = 0
    for (const { item } of this.#waiting) {
      total += weight(item)
      if (count > 0 && total > limit) break
      count += 1
    }
    return this.#waiting.splice(0, count)
  }

  async #commit(entries: Entry<Item, Out>[], again = true): Promise<void> {
    let outs: Out[]
    try {
      outs = await this.#run(entries.map((entry) => entry.item))
    } catch (error) {
      const state = sqlState(error)
      if (again && state && TRY_AGAIN_STATES.has(state)) return this.#commit(entries, false)
      if (entries.length > 1 && state && isData(state)) return this.#halve(entries)
      for (const entry of entries) entry.reject(error)
      return
    }
    entries.forEach((entry, index) => entry.resolve(outs[index] as Out))
  }

  async #halve(entries: Entry<Item, Out>[]) {
    const middle = entries.length >> 1
    await this.#commit(entries.slice(0, middle))
    await this.#commit(entries.slice(middle))
  }
}

/** SQLSTATE classes that blame the data: 21 cardinality, 22 data exception, 23 integrity, 54 program limit. */
export function isData(state: string): boolean {
  return /^(21|22|23|54)/.test(state)
}
