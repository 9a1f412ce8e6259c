import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'

/** Background work: `runOnce`, repeated. Tests call `runOnce` and never wait. */
export interface Chore {
  name: string
  everyMs: number
  runOnce(): Promise<void>
}

const JITTER = 0.1

/** Repeats a chore until the signal. An error is logged and the chore tries again at its next turn. */
export async function runLoop(chore: Chore, signal: AbortSignal, log: Logger): Promise<void> {
  while (!signal.aborted) {
    // Jitter keeps several brokers from doing the same work at the same moment.
    const pause = chore.everyMs * (1 + JITTER * (2 * Math.random() - 1))
    await sleep(pause, undefined, { signal, ref: false }).catch(() => undefined)
    if (signal.aborted) return
    await chore.runOnce().catch((error: unknown) => log.warn({ err: error, chore: chore.name }, 'a chore failed; it will be tried again'))
  }
}
