import { setTimeout as sleep } from 'node:timers/promises'
import { livingMembers } from './group-members.js'

/** How long killed processes may take to disappear before they are reported. */
const CLEAR_MS = 1_000

/** Signals to a process group, softly, hard, and until nobody is left, for as long as its id is known to be its own. */
export class ProcessSignals {
  #id: number | undefined
  #killTimer: NodeJS.Timeout | undefined

  /** `id` is the process group's, once it has one. */
  started(id: number | undefined): void {
    this.#id = id
  }

  /** SIGTERM to the whole group now, SIGKILL after the grace. */
  terminate(graceMs: number): void {
    this.#signal('SIGTERM')
    this.#killTimer ??= setTimeout(() => this.kill(), graceMs)
  }

  kill(): void {
    clearTimeout(this.#killTimer)
    this.#signal('SIGKILL')
  }

  /** Nobody is in the group any more: its id may belong to somebody else now and is never signalled again. */
  emptied(): void {
    clearTimeout(this.#killTimer)
    this.#id = undefined
  }

  /** Kills what the leader left behind. Returns the process ids that survived even that. */
  async clear(): Promise<number[]> {
    this.kill()
    if (this.#id === undefined) return []
    const deadline = performance.now() + CLEAR_MS
    let living = await livingMembers(this.#id)
    while (living.length > 0 && performance.now() < deadline) {
      await sleep(5)
      living = await livingMembers(this.#id)
    }
    this.emptied()
    return living
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#id === undefined) return
    try {
      process.kill(-this.#id, signal)
    } catch {
      // Nobody left to signal, or somebody we may not signal: clear() reports those that stay.
    }
  }
}
