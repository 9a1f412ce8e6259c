import type { Entry } from './ledger.js'
import type { Link } from './link.js'

/** The open links of this broker, by session. */
export class Links {
  readonly #bySession = new Map<string, Link>()
  /** Every link, also those that have not said hello. */
  readonly #all = new Set<Link>()
  #draining = false

  get size(): number {
    return this.#all.size
  }

  /** The broker is going down: whoever is here, and whoever says hello from now on, is told so. */
  get draining(): boolean {
    return this.#draining
  }

  drain(): void {
    this.#draining = true
    for (const link of this.open()) link.drain()
  }

  /** Tells the worker of this name, if it is connected here, to leave. */
  retire(workerId: string, graceMs: number): void {
    for (const link of this.open()) if (link.session.workerId === workerId) link.retire(graceMs)
  }

  connected(link: Link): void {
    this.#all.add(link)
  }

  add(link: Link): void {
    this.#bySession.set(link.sessionId, link)
  }

  remove(link: Link): void {
    this.#all.delete(link)
    if (link.hasSession && this.#bySession.get(link.sessionId) === link) this.#bySession.delete(link.sessionId)
  }

  ofSession(sessionId: string): Link | undefined {
    return this.#bySession.get(sessionId)
  }

  open(): Link[] {
    return [...this.#bySession.values()]
  }

  all(): Link[] {
    return [...this.#all]
  }

  /** Who holds this run here, if anyone. */
  holding(run: string): { link: Link; entry: Entry } | undefined {
    for (const link of this.#bySession.values()) {
      const entry = link.ledger.ofRun(run)
      if (entry) return { link, entry }
    }
    return undefined
  }
}
