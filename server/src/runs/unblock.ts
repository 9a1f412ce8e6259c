import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

const unblockSql = statement<[number], { queues: string[]; more: boolean; nextMs: number | null }>(import.meta.url, 'unblock.sql')

/** Most keys of one statement. */
const BATCH = 1_000

/** Blocked → ready for runs whose key has room again. `nextMs`: until a rate limit that runs wait for has its next token. */
export async function unblock(db: Db, limit = BATCH) {
  const [row] = await db.query(unblockSql, [limit])
  return row ?? { queues: [], more: false, nextMs: null }
}
