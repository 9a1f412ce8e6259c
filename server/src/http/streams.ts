import type { IncomingMessage } from 'node:http'
import type { Token } from './tokens.js'

/** Event streams that are open, and the tokens they came with: a stream must not outlive its token, as a worker's link does not. */
export class Streams {
  readonly #open = new Map<AbortController, string>()
  readonly #closing: AbortSignal

  /** `closing`: aborts when the broker stops. */
  constructor(closing: AbortSignal) {
    this.#closing = closing
  }

  /** A signal for the stream of this request: aborts when its client has gone, its token has ended, or the broker stops. */
  opened({ hash }: Token, request: IncomingMessage): AbortSignal {
    const ending = new AbortController()
    this.#open.set(ending, hash)
    const end = () => ending.abort()
    request.once('close', end)
    this.#closing.addEventListener('abort', end, { once: true })
    ending.signal.addEventListener('abort', () => {
      this.#open.delete(ending)
      this.#closing.removeEventListener('abort', end)
    })
    if (this.#closing.aborted) end()
    return ending.signal
  }

  /** Hashes of their tokens. */
  hashes(): string[] {
    return [...this.#open.values()]
  }

  /** These tokens have ended. */
  expire(hashes: ReadonlySet<string>): void {
    for (const [ending, hash] of this.#open) if (hashes.has(hash)) ending.abort()
  }
}
