import { StringDecoder } from 'node:string_decoder'

/** What was read from a descriptor, as far as it was kept. */
export interface Captured {
  bytes: Uint8Array
  /** More was written than was kept. */
  overflowed: boolean
}

/**
 * Keeps the first `limit` bytes of a stream. The rest is taken too, and dropped: a reader that stops reading would block
 * the writer, one that closes would kill it with EPIPE.
 */
export class Head implements Captured {
  overflowed = false
  readonly #limit: number
  readonly #chunks: Buffer[] = []
  #kept = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  push(chunk: Buffer): void {
    const room = this.#limit - this.#kept
    if (chunk.length > room) this.overflowed = true
    if (room <= 0) return
    this.#chunks.push(chunk.subarray(0, room))
    this.#kept += Math.min(chunk.length, room)
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }
}

/** Keeps the last `limit` bytes of a stream: the end of stderr says why a process died. */
export class Tail {
  readonly #limit: number
  #kept = Buffer.alloc(0)

  constructor(limit: number) {
    this.#limit = limit
  }

  push(chunk: Buffer): void {
    const all = chunk.length >= this.#limit ? chunk : Buffer.concat([this.#kept, chunk])
    this.#kept = Buffer.from(all.subarray(Math.max(0, all.length - this.#limit)))
  }

  get text(): string {
    return this.#kept.toString('utf8')
  }
}

/** Hands a stream on as text, whole characters only, up to `limit` bytes; then says once that it stops. */
export class LogFeed {
  readonly #emit: (text: string) => void
  readonly #limit: number
  readonly #decoder = new StringDecoder('utf8')
  #fed = 0

  constructor(limit: number, emit: (text: string) => void) {
    this.#limit = limit
    this.#emit = emit
  }

  push(chunk: Buffer): void {
    const room = this.#limit - this.#fed
    if (room < 0) return
    this.#fed += chunk.length
    const text = this.#decoder.write(chunk.subarray(0, room))
    if (text !== '') this.#emit(text)
    if (chunk.length > room) this.#emit(`\n[cut off after ${this.#limit} bytes]\n`)
  }
}
