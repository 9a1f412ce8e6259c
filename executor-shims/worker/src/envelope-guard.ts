/** How the envelope of an executor that knows no descriptor 3 begins, at the start of a line. */
export const ENVELOPE_MARK = Buffer.from('{"ok"')
const NEWLINE = 0x0a

/**
 * Lets what is written to stdout through as it comes, but for what may be the envelope: whatever follows from a line on that
 * begins like one. Only the end of the process says whether it is; a result is no log.
 */
export class EnvelopeGuard {
  readonly #pass: (chunk: Buffer) => void
  readonly #limit: number
  #isLineStart = true
  /** What cannot be judged yet, or is held back. */
  #held: Buffer = Buffer.alloc(0)
  #isHolding = false

  /** Of what is held back the first `limit` bytes are kept. */
  constructor(limit: number, pass: (chunk: Buffer) => void) {
    this.#limit = limit
    this.#pass = pass
  }

  push(chunk: Buffer): void {
    if (this.#isHolding) return this.#hold(chunk)
    const text = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk
    this.#held = Buffer.alloc(0)
    const at = this.#suspectIn(text)
    this.#let(text.subarray(0, at))
    if (at === text.length) return
    this.#isHolding = text.length - at >= ENVELOPE_MARK.length
    this.#held = text.subarray(at)
  }

  /** The process has ended. What was held back was the envelope, or output like any other. */
  finish(wasEnvelope: boolean): void {
    if (!wasEnvelope || !this.#isHolding) this.#let(this.#held)
    this.#held = Buffer.alloc(0)
  }

  #hold(chunk: Buffer): void {
    const room = this.#limit - this.#held.length
    if (room > 0) this.#held = Buffer.concat([this.#held, chunk.subarray(0, room)])
  }

  #let(text: Buffer): void {
    if (text.length === 0) return
    this.#isLineStart = text.at(-1) === NEWLINE
    this.#pass(text)
  }

  /** Where a line begins that is, or may become, the mark; the length of the text when none does. */
  #suspectIn(text: Buffer): number {
    for (let at = this.#isLineStart ? 0 : after(text, 0); at < text.length; at = after(text, at)) {
      const head = text.subarray(at, at + ENVELOPE_MARK.length)
      if (head.equals(ENVELOPE_MARK.subarray(0, head.length))) return at
    }
    return text.length
  }
}

/** Where the next line begins. */
function after(text: Buffer, from: number): number {
  const end = text.indexOf(NEWLINE, from)
  return end === -1 ? text.length : end + 1
}
