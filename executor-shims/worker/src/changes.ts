/** Waiting for a condition: whoever changes something says so, and the conditions are looked at again. */
export class Changes {
  readonly #looks = new Set<() => void>()

  happened(): void {
    for (const look of this.#looks) look()
  }

  /** True as soon as `isSo()`; false when `ms` have passed or `signal` aborts before. */
  until(isSo: () => boolean, ms: number, signal?: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (result: boolean) => {
        clearTimeout(timer)
        this.#looks.delete(look)
        signal?.removeEventListener('abort', giveUp)
        resolve(result)
      }
      const look = () => {
        if (isSo()) settle(true)
      }
      const giveUp = () => settle(isSo())
      const timer = setTimeout(giveUp, Math.min(ms, 2_147_483_647))
      this.#looks.add(look)
      signal?.addEventListener('abort', giveUp, { once: true })
      if (signal?.aborted) giveUp()
      else look()
    })
  }
}
