/** An unfinished line longer than this is passed on in parts. */
const LONGEST = 65_536

/** Puts what arrives in pieces together to lines, for each stream of each run apart. */
export class WholeLines {
  readonly #begun = new Map<string, Map<string, string>>()

  /** The lines that `text` completes, without the empty ones. */
  push(run: string, stream: string, text: string): string[] {
    const streams = this.#begun.get(run) ?? new Map<string, string>()
    const lines = ((streams.get(stream) ?? '') + text).split(/\r?\n/)
    const rest = (lines.at(-1) as string).length > LONGEST ? '' : (lines.pop() as string)
    streams.set(stream, rest)
    this.#begun.set(run, streams)
    return lines.filter((line) => line !== '')
  }

  /** The run is over: what it left without the end of a line. */
  end(run: string): string[] {
    const rests = [...(this.#begun.get(run)?.values() ?? [])]
    this.#begun.delete(run)
    return rests.filter((line) => line !== '')
  }
}
