import { setTimeout as sleep } from 'node:timers/promises'

const EVERY_MS = 20

/** Waits until `look` gives something truthy, and returns it. Throws, naming `what` and the last value, after `withinMs`. */
export async function until<T>(what: string, look: () => T | Promise<T>, withinMs = 10_000): Promise<NonNullable<Exclude<T, false>>> {
  const end = performance.now() + withinMs
  for (;;) {
    const value = await look()
    if (value) return value as NonNullable<Exclude<T, false>>
    if (performance.now() > end) throw new Error(`Not within ${withinMs} ms: ${what} (last: ${JSON.stringify(value)})`)
    await sleep(EVERY_MS)
  }
}
