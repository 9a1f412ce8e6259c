import { Head, type Captured } from './bounded-output.js'
import { extendMessageOf, type ExtendMessage } from './extend-message.js'
import { progressOf, type Progress } from './progress.js'

const NEWLINE = 0x0a
/** How a message begins that is not the envelope. */
const MESSAGE = Buffer.from('{"t":')

/** Descriptor 3 of a one-shot executor: any number of messages, then the envelope, of which the first `limit` bytes are kept. */
export class ResultChannel {
  readonly #envelope: Head
  readonly #limit: number
  readonly #report: ((progress: Progress) => void) | undefined
  readonly #extend: ((message: ExtendMessage) => void) | undefined
  /** The beginning of a line, as long as it may still become a message; undefined once the envelope has begun. */
  #line: Buffer | undefined = Buffer.alloc(0)
  #isUsed = false

  constructor(limit: number, report?: (progress: Progress) => void, extend?: (message: ExtendMessage) => void) {
    this.#envelope = new Head(limit)
    this.#limit = limit
    this.#report = report
    this.#extend = extend
  }

  push(chunk: Buffer): void {
    this.#isUsed = true
    if (this.#line === undefined) return this.#envelope.push(chunk)
    this.#line = Buffer.concat([this.#line, chunk])
    while (this.#line !== undefined && this.#line.length > 0) if (!this.#takeLine(this.#line)) return
  }

  /** The envelope, and what came after it; undefined when nothing at all came. A message without an end is none. */
  get captured(): Captured | undefined {
    return this.#isUsed ? this.#envelope : undefined
  }

  /** Whether there may be another line in what is left. */
  #takeLine(line: Buffer): boolean {
    const end = line.indexOf(NEWLINE)
    const isMessage = line.subarray(0, MESSAGE.length).equals(MESSAGE.subarray(0, line.length))
    if (!isMessage || (end === -1 && line.length > this.#limit)) {
      this.#line = undefined
      this.#envelope.push(line)
      return false
    }
    if (end === -1) return false
    this.#read(line.subarray(0, end).toString('utf8'))
    this.#line = line.subarray(end + 1)
    return true
  }

  #read(text: string): void {
    try {
      const message: unknown = JSON.parse(text)
      if (typeof message !== 'object' || message === null || !('t' in message)) return
      if (message.t === 'progress') this.#report?.(progressOf(text))
      const question = message.t === 'extend' ? extendMessageOf(message) : undefined
      if (question) this.#extend?.(question)
    } catch {
      // Progress is lossy by design; the result is judged by its own line.
    }
  }
}
