import { Head, type Captured } from './bounded-output.js'

/** How the envelope of an executor that knows no descriptor 3 begins, at the start of a line. */
const MARK = Buffer.from('{"ok"')
const NEWLINE = 0x0a
const SPACE = 0x20
const NOTHING = Buffer.alloc(0)

/**
 * Lets what is written to stdout through as it comes, but for a line that begins like an envelope: a result is no log. Such a line is held
 * back until another one follows it, for then it was none, or until the process has ended, which says what it was.
 */
export class EnvelopeGuard {
  readonly #pass: (chunk: Buffer) => void
  readonly #limit: number
  #isReleased = false
  #isLineStart = true
  /** The end of what came, as long as it may still become the mark. */
  #beginning: Buffer = NOTHING
  /** The line that is held back, and blank ones behind it. */
  #line: Head | undefined
  #isLineOver = false

  /** Of a line that is held back the first `limit` bytes are kept. */
  constructor(limit: number, pass: (chunk: Buffer) => void) {
    this.#limit = limit
    this.#pass = pass
  }

  /** What is held back: the last line so far, if it begins like an envelope. */
  get lastLine(): Captured | undefined {
    return this.#line
  }

  push(chunk: Buffer): void {
    if (this.#isReleased) return this.#pass(chunk)
    for (let rest = chunk; rest.length > 0; ) rest = this.#line ? this.#hold(this.#line, rest) : this.#look(rest)
  }

  /** No envelope is to come on stdout: what is held back is log, and so is what follows. */
  release(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#let(this.#line?.bytes ?? this.#beginning)
    this.#line = undefined
  }

  /** Lets through what comes before a line that begins with the mark. Returns the text from there on. */
  #look(chunk: Buffer): Buffer {
    const text = this.#beginning.length > 0 ? Buffer.concat([this.#beginning, chunk]) : chunk
    this.#beginning = NOTHING
    const at = this.#suspectIn(text)
    this.#let(text.subarray(0, at))
    const rest = text.subarray(at)
    if (rest.length < MARK.length) {
      this.#beginning = rest
      return NOTHING
    }
    this.#line = new Head(this.#limit)
    this.#isLineOver = false
    return rest
  }

  /** Returns what follows the line, if that is not blank: then the line is held back no longer. */
  #hold(line: Head, chunk: Buffer): Buffer {
    const end = this.#isLineOver ? 0 : after(chunk, 0)
    line.push(chunk.subarray(0, end))
    this.#isLineOver ||= chunk[end - 1] === NEWLINE
    const rest = chunk.subarray(end)
    if (rest.every((byte) => byte <= SPACE)) {
      line.push(rest)
      return NOTHING
    }
    this.#line = undefined
    this.#let(line.bytes)
    this.#isLineStart = true
    return rest
  }

  #let(text: Buffer): void {
    if (text.length === 0) return
    this.#isLineStart = text.at(-1) === NEWLINE
    this.#pass(text)
  }

  /** Where a line begins that is, or may become, the mark; the length of the text when none does. */
  #suspectIn(text: Buffer): number {
    for (let at = this.#isLineStart ? 0 : after(text, 0); at < text.length; at = after(text, at)) {
      const head = text.subarray(at, at + MARK.length)
      if (head.equals(MARK.subarray(0, head.length))) return at
    }
    return text.length
  }
}

/** Where the next line begins. */
function after(text: Buffer, from: number): number {
  const end = text.indexOf(NEWLINE, from)
  return end === -1 ? text.length : end + 1
}
