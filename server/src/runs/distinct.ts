/** The different ones among many, and for each of the many which it is, counted from 1 as SQL does. */
export class Distinct<T> {
  readonly values: T[] = []
  readonly #indexes = new Map<string, number>()
  readonly #keyOf: (value: T) => string

  constructor(all: T[], keyOf: (value: T) => string) {
    this.#keyOf = keyOf
    for (const value of all) {
      const key = keyOf(value)
      if (!this.#indexes.has(key)) this.#indexes.set(key, this.values.push(value))
    }
  }

  indexOf(value: T): number {
    return this.#indexes.get(this.#keyOf(value)) as number
  }
}
