import { sqlState } from '../db/pool.js'

/** How one item of a group ended. */
export type Outcome<Out> = { ok: true; out: Out } | { ok: false; error: unknown }

/** Items that came in one call, and what is known of each. One promise for all of them: at full speed a promise per item shows. */
interface Call<Out> {
  outcomes: Outcome<Out>[]
  left: number
  resolve: (outcomes: Outcome<Out>[]) => void
}

interface Entry<Item, Out> {
  item: Item
  call: Call<Out>
  index: number
}

export interface GroupCommitOptions<Item> {
  /** Most weight of one statement. */
  limit: number | (() => number)
  /** Awaited before a batch is taken. Should it reject, the batch goes on all the same. */
  before?: () => Promise<unknown>
  /** How much of the limit an item takes. Default 1. */
  weight?: (item: Item) => number
}

/** Somebody else holds one of the rows: only the items that need it have to wait. */
const LOCK_TIMEOUT = '55P03'
/** Locks taken in an unlucky order, or a serialization failure: the same statement may simply be sent again. */
const TRY_AGAIN_STATES = new Set(['40P01', '40001'])

/**
 * One statement for everything that arrives while the previous statement is on its way. Idle, an item waits for the end
 * of the current loop turn and no longer; busy, batches form by themselves. There is no timer.
 *
 * `run` is one atomic statement and answers per item, in order. A statement the database refuses for its data, or for a row
 * that somebody holds locked, is cut in halves until the bad item stands alone: it fails, the others go on.
 */
export class GroupCommit<Item, Out> {
  readonly #run: (items: Item[]) => Promise<Out[]>
  readonly #options: GroupCommitOptions<Item>
  #waiting: Entry<Item, Out>[] = []
  #busy = false
  #statement: Promise<void> | undefined

  constructor(run: (items: Item[]) => Promise<Out[]>, options: GroupCommitOptions<Item>) {
    this.#run = run
    this.#options = options
  }

  /** Resolves after the commit. Rejects with the database's error for this item alone. */
  async add(item: Item): Promise<Out> {
    const [outcome] = await this.addAll([item])
    if (outcome?.ok) return outcome.out
    throw outcome?.error
  }

  /** Resolves when all items are committed or refused, with the outcome of each, in order. Never rejects. */
  addAll(items: Item[]): Promise<Outcome<Out>[]> {
    if (items.length === 0) return Promise.resolve([])
    return new Promise((resolve) => {
      const call: Call<Out> = { outcomes: new Array<Outcome<Out>>(items.length), left: items.length, resolve }
      items.forEach((item, index) => this.#waiting.push({ item, call, index }))
      if (this.#busy) return
      this.#busy = true
      setImmediate(() => void this.#drain())
    })
  }

  get isBusy(): boolean {
    return this.#busy
  }

  /** Resolves when the statement that is on its way has ended; at once when there is none. */
  turn(): Promise<void> {
    return this.#statement ?? Promise.resolve()
  }

  async #drain() {
    while (this.#waiting.length > 0) {
      await this.#options.before?.().catch(() => undefined)
      this.#statement = this.#commit(this.#take())
      await this.#statement
      this.#statement = undefined
    }
    this.#busy = false
  }

  #take(): Entry<Item, Out>[] {
    const { weight = () => 1 } = this.#options
    const limit = typeof this.#options.limit === 'number' ? this.#options.limit : this.#options.limit()
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
      if (entries.length > 1 && state && (isData(state) || state === LOCK_TIMEOUT)) return this.#halve(entries)
      for (const entry of entries) settle(entry, { ok: false, error })
      return
    }
    entries.forEach((entry, index) => settle(entry, { ok: true, out: outs[index] as Out }))
  }

  async #halve(entries: Entry<Item, Out>[]) {
    const middle = entries.length >> 1
    await this.#commit(entries.slice(0, middle))
    await this.#commit(entries.slice(middle))
  }
}

function settle<Item, Out>({ call, index }: Entry<Item, Out>, outcome: Outcome<Out>): void {
  call.outcomes[index] = outcome
  call.left -= 1
  if (call.left === 0) call.resolve(call.outcomes)
}

/** SQLSTATE classes that blame the data: 21 cardinality, 22 data exception, 23 integrity, 54 program limit. */
export function isData(state: string): boolean {
  return /^(21|22|23|54)/.test(state)
}
