/**
 * A Postgres array as text, of values that need no quotes: numbers, hex, uuids, ids. The driver would look at each for
 * characters to escape, which at full speed is a good part of what a statement costs.
 */
export function plainArray(values: readonly (string | number | null)[]): string {
  return `{${values.map((value) => value ?? 'NULL').join(',')}}`
}
