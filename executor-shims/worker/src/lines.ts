const NEWLINE = 0x0a

/** Cuts a stream into lines. A line longer than `limit` bytes is dropped up to its end and told of once. */
export class Lines {
  readonly #limit: number
  readonly #take: (line: Buffer) => void
  readonly #tooLong: () => void
  #parts: Buffer[] = []
  #size = 0

  constructor(limit: number, take: (line: Buffer) => void, tooLong: () => void) {
    this.#limit = limit
    this.#take = take
    this.#tooLong = tooLong
  }

  push(chunk: Buffer): void {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#add(chunk.subarray(start, end))
      this.#end()
      start = end + 1
    }
    this.#add(chunk.subarray(start))
  }

  #add(part: Buffer): void {
    if (part.length === 0) return
    const fitted = this.#size <= this.#limit
    this.#size += part.length
    if (this.#size <= this.#limit) this.#parts.push(part)
    else if (fitted) {
      this.#parts = []
      this.#tooLong()
    }
  }

  #end(): void {
    const [first] = this.#parts
    const line = this.#parts.length === 1 && first ? first : Buffer.concat(this.#parts)
    const isWhole = this.#size > 0 && this.#size <= this.#limit
    this.#parts = []
    this.#size = 0
    if (isWhole) this.#take(line)
  }
}
