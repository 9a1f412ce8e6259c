/** The different ones among many. */
export class Distinct<T> {
  readonly values: T[] = []
  /** For each of the many, which of `values` it is, counted from 1 as SQL does. */
  readonly indexes: number[]

  constructor(all: readonly T[], keyOf: (value: T) => string) {
    const known = new Map<string, number>()
    this.indexes = all.map((value) => {
      const key = keyOf(value)
      let index = known.get(key)
      if (index === undefined) known.set(key, (index = this.values.push(value)))
      return index
    })
  }
}
