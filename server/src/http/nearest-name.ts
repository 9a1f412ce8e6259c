/** The name that was probably meant: one that contains the other (`delay`, `delay_ms`), else one a slip of the keys away; in any case and style. */
export function nearestName(given: string, allowed: readonly string[]): string | undefined {
  const plain = (name: string) => name.toLowerCase().replaceAll('_', '')
  const word = plain(given)
  const related = allowed.find((name) => word.length > 2 && plain(name).startsWith(word)) ?? allowed.find((name) => word.length > 2 && plain(name).endsWith(word))
  if (related !== undefined) return related
  const [nearest] = allowed.map((name) => ({ name, slips: distance(word, plain(name)) })).sort((a, b) => a.slips - b.slips)
  return nearest && nearest.slips <= word.length / 3 ? nearest.name : undefined
}

/** Levenshtein's. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at)
  for (const [at, letter] of [...from].entries()) {
    const next = [at + 1]
    for (const [column, other] of [...to].entries()) next.push(Math.min((row[column] ?? 0) + (letter === other ? 0 : 1), (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1))
    row = next
  }
  return row.at(-1) ?? 0
}
