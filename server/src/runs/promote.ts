import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

const promoteSql = statement<[number], { queues: string[]; promoted: number; nextMs: number | null }>(import.meta.url, 'promote.sql')

/** Scheduled → ready for what is due. `nextMs`: until the next one is (0 or less when more are due now), null when none is scheduled. */
export async function promote(db: Db, limit: number) {
  const [row] = await db.query(promoteSql, [limit])
  return row ?? { queues: [], promoted: 0, nextMs: null }
}
