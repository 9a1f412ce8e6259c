import type { Limit, LimitList, LimitRequest } from '../../protocol/src/rest-limits.js'
import type { Ask } from './ask.js'

/** Rate limits of tasks (`task:email.send`), queues (`queue:mail`), everything (`global`) and rate keys (`key:customer-42`). Changing them needs a token with `admin`. */
export class Limits {
  readonly #ask: Ask
  constructor(ask: Ask) {
    this.#ask = ask
  }

  /** All of them, by key, read in pages. */
  async list(): Promise<Limit[]> {
    const all: Limit[] = []
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page: LimitList = await this.#ask('GET', `/v1/limits?${new URLSearchParams({ limit: '1000', ...(cursor !== undefined && { cursor }) })}`)
      all.push(...page.limits)
      // Undefined from a broker that knows no pages: that was all.
      cursor = page.next_cursor ?? null
    }
    return all
  }

  /** Throws HttpProblem LIMIT_NOT_FOUND. */
  get(key: string): Promise<Limit> {
    return this.#ask('GET', path(key))
  }

  /** Holds at once, for runs that wait too; begins with its whole burst. A key's stays whatever its runs say, until it is removed. `set('queue:mail', { limit: 100, per: 'minute' })` */
  set(key: string, limit: LimitRequest): Promise<Limit> {
    return this.#ask('PUT', path(key), { body: limit })
  }

  /** A more general limit may apply then. Not asked twice. Throws HttpProblem LIMIT_NOT_FOUND. */
  async remove(key: string): Promise<void> {
    await this.#ask('DELETE', path(key), { repeatable: false })
  }
}

function path(key: string): string {
  return `/v1/limits/${encodeURIComponent(key)}`
}
