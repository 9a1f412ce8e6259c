import { plainArray } from '../db/plain-array.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** A leased run that ended well. `output` is JSON text. */
export interface Success {
  run: string
  lease: string
  output: string
}

const succeedSql = statement<[string, string, string], { leases: string; keyed: boolean }>(import.meta.url, 'succeed.sql')

/**
 * RUNNING → SUCCESSFUL. `held` says of each whether its lease still held; where it did not, nothing was touched. `keyed`: one of
 * them had a key that others may wait for.
 */
export async function succeed(db: Db, items: Success[]): Promise<{ held: boolean[]; keyed: boolean }> {
  // Stable, so of a lease that comes twice in a batch the first counts.
  const inOrder = items.toSorted((a, b) => (a.lease < b.lease ? -1 : a.lease > b.lease ? 1 : 0)).filter(({ lease }, index, sorted) => lease !== sorted[index - 1]?.lease)
  const [row] = await db.query(succeedSql, [
    plainArray(inOrder.map((item) => item.run)),
    plainArray(inOrder.map((item) => item.lease)),
    // As strings: nobody has looked whether they are JSON, and one that is not must not run into the next.
    JSON.stringify(inOrder.map((item) => item.output)),
  ])
  const leases = new Set(row?.leases.split(','))
  return { held: items.map(({ lease }) => leases.delete(lease)), keyed: row?.keyed ?? false }
}
