import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

const staleHoldsSql = statement<[], { count: number }>(import.meta.url, 'stale-holds.sql')

/** Lets go keys that nobody runs for any more. Returns how many there were, which is none unless triggers were passed by. */
export async function releaseStaleHolds(db: Db): Promise<number> {
  const [row] = await db.query(staleHoldsSql, [])
  return row?.count ?? 0
}
