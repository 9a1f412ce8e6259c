/** Calls back when nothing was heard for too long. */
export class Silence {
  readonly #tooLong: (ms: number) => void
  #timer: NodeJS.Timeout | undefined
  #heard = false

  constructor(tooLong: (ms: number) => void) {
    this.#tooLong = tooLong
  }

  /** Starts, or goes on with another limit. */
  limit(ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#expired(ms), ms)
  }

  heard(): void {
    this.#heard = true
    this.#timer?.refresh()
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** A process that was stopped for a while finds its timer over before it has read what lies in the socket: one look first. */
  #expired(ms: number) {
    this.#heard = false
    setImmediate(() => {
      if (this.#timer && !this.#heard) this.#tooLong(ms)
    })
  }
}
