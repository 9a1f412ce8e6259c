import { plainArray } from '../db/plain-array.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** A leased run that ended well. `output` is JSON text. */
export interface Success {
  run: string
  lease: string
  output: string
}

const succeedSql = statement<[string, string, string[]], { leases: string }>(import.meta.url, 'succeed.sql')

/** RUNNING → SUCCESSFUL. Says of each whether its lease still held; where it did not, nothing was touched. */
export async function succeed(db: Db, items: Success[]): Promise<boolean[]> {
  const [row] = await db.query(succeedSql, [plainArray(items.map((item) => item.run)), plainArray(items.map((item) => item.lease)), items.map((item) => item.output)])
  const held = new Set(row?.leases.split(','))
  // A lease that comes twice in a batch settles its run once: the first counts.
  return items.map(({ lease }) => held.delete(lease))
}
