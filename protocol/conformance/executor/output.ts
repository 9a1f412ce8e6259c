type Stream = 'channel' | 'stdout' | 'stderr'

/** Everything a process has written so far. */
export class Output {
  readonly #chunks: Record<Stream, Buffer[]> = { channel: [], stdout: [], stderr: [] }
  readonly #looks = new Set<() => void>()
  /** Whole lines of the channel; the rest is what has no end yet. */
  readonly lines: Buffer[] = []
  #rest: Buffer = Buffer.alloc(0)

  push(stream: Stream, chunk: Buffer): void {
    this.#chunks[stream].push(chunk)
    if (stream === 'channel') this.#cut(chunk)
    for (const look of this.#looks) look()
  }

  bytes(stream: Stream): Buffer {
    return Buffer.concat(this.#chunks[stream])
  }

  text(stream: Stream): string {
    return this.bytes(stream).toString('utf8')
  }

  /** Resolves when it is so, which may be at once. */
  when(isSo: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!isSo()) return
        this.#looks.delete(look)
        resolve()
      }
      this.#looks.add(look)
      look()
    })
  }

  said(text: string): Promise<void> {
    return this.when(() => this.text('stdout').includes(text) || this.text('stderr').includes(text))
  }

  #cut(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk])
    for (let end = this.#rest.indexOf(0x0a); end !== -1; end = this.#rest.indexOf(0x0a)) {
      this.lines.push(this.#rest.subarray(0, end))
      this.#rest = this.#rest.subarray(end + 1)
    }
  }
}
