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

const AT_ONCE = 3

/** Enqueues without a pause, each run under a key of its own, and asks again (the SDK does) until it has an answer. */
export function producer(t: Test, reproq: Reproq, item: (n: number) => Item<Work>, prefix = 'key'): Producer {
  const acknowledged = new Set<string>()
  let keys = 0
  let stopped = false
  const produce = async () => {
    while (!stopped) {
      const n = keys++
      const { input, ...options } = item(n)
      const { id } = await reproq.enqueue(work, input, { ...options, idempotencyKey: `${prefix}-${n}` })
      acknowledged.add(id)
      await sleep(20)
    }
  }
  const all = Promise.all(Array.from({ length: AT_ONCE }, produce))
  // What it throws is thrown by `stop`.
  all.catch(() => {})
  const stop = async () => {
    stopped = true
    await all
    return { keys, acknowledged }
  }
  t.teardown(() => (stopped = true))
  return { acknowledged, stop }
}
