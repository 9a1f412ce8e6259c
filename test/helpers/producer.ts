import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { Item, Reproq } from '../../sdk-ts/src/index.js'
import { work, type Work } from './ledger-tasks.js'

export interface Producer {
  /** Ids of runs whose enqueue was answered. */
  acknowledged: Set<string>
  /** Asks for no more, and waits until all that was asked for is answered. */
  stop(): Promise<{ keys: number; acknowledged: Set<string> }>
}

export interface PlainProducer {
  /** Ids of runs whose enqueue was answered. */
  acknowledged: Set<string>
  /** Asks for no more. `unanswered`: enqueues that failed without telling whether they were stored; each made one run or none. */
  stop(): Promise<{ unanswered: number; acknowledged: Set<string> }>
}

const AT_ONCE = 3
const PAUSE_MS = 20
const AGAIN_MS = 100

/** Enqueues without a pause, each run under a key of its own, and asks again (the SDK does) until it has an answer. */
export function producer(t: Test, reproq: Reproq, item: (n: number) => Item<Work>, prefix = 'key'): Producer {
  const acknowledged = new Set<string>()
  let keys = 0
  const stop = keepOn(t, async () => {
    const n = keys++
    const { input, ...options } = item(n)
    const { id } = await reproq.enqueue(work, input, { ...options, idempotencyKey: `${prefix}-${n}` })
    acknowledged.add(id)
  })
  return { acknowledged, stop: async () => (await stop(), { keys, acknowledged }) }
}

/** The same without keys, the path most enqueues take: the same run is asked for again only when nobody can have stored it. */
export function plainProducer(t: Test, reproq: Reproq, item: (n: number) => Item<Work>): PlainProducer {
  const acknowledged = new Set<string>()
  let asked = 0
  let unanswered = 0
  const stop = keepOn(t, async () => {
    const { input, ...options } = item(asked++)
    for (;;) {
      try {
        const { id } = await reproq.enqueue(work, input, options)
        if (acknowledged.has(id)) throw new Error(`Run ${id} is the answer to two enqueues`)
        acknowledged.add(id)
        return
      } catch (error) {
        if (!isAway(error)) throw error
        await sleep(AGAIN_MS)
        if (wasRefusedConnection(error)) continue
        unanswered++
        return
      }
    }
  })
  return { acknowledged, stop: async () => (await stop(), { unanswered, acknowledged }) }
}

/** Repeats `once`, a few at a time, until it is told to stop. */
function keepOn(t: Test, once: () => Promise<void>): () => Promise<void> {
  let stopped = false
  const repeat = async () => {
    while (!stopped) {
      await once()
      await sleep(PAUSE_MS)
    }
  }
  const all = Promise.all(Array.from({ length: AT_ONCE }, repeat))
  // What it throws is thrown by `stop`.
  all.catch(() => {})
  t.teardown(() => (stopped = true))
  return async () => {
    stopped = true
    await all
  }
}

const isAway = (error: unknown) => error instanceof Error && (error.name === 'BrokerUnreachable' || error.name === 'BrokerUnavailable')

/** Nobody listened, so nobody read the request. */
function wasRefusedConnection(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if ((at as NodeJS.ErrnoException).code === 'ECONNREFUSED') return true
  return false
}
