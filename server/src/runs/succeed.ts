import { plainArray } from '../db/plain-array.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** A leased run that ended well. `output` is JSON text. */
export interface Success {
  run: string
  lease: string
  output: string
}

const succeedSql = statement<[string, string, string[]], { leases: string; keyed: boolean }>(import.meta.url, 'succeed.sql')

/**
 * RUNNING → SUCCESSFUL. `held` says of each whether its lease still held; where it did not, nothing was touched. `keyed`: one of
 * them had a key that others may wait for.
 */
export async function succeed(db: Db, items: Success[]): Promise<{ held: boolean[]; keyed: boolean }> {
  const [row] = await db.query(succeedSql, [plainArray(items.map((item) => item.run)), plainArray(items.map((item) => item.lease)), items.map((item) => item.output)])
  const leases = new Set(row?.leases.split(','))
  // A lease that comes twice in a batch settles its run once: the first counts.
  return { held: items.map(({ lease }) => leases.delete(lease)), keyed: row?.keyed ?? false }
}
