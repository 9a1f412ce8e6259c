import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** Most runs of one statement. */
const BATCH = 1_000
const promoteSql = statement<[number], { queues: string[]; promoted: number; nextMs: number | null }>(import.meta.url, 'promote.sql')

/** Scheduled → ready for what is due, and the end of holds. `more`: more may be due now. `nextMs`: until the next one is, null when none is scheduled. */
export async function promote(db: Db, limit = BATCH) {
  const [row] = await db.query(promoteSql, [limit])
  const { queues = [], promoted = 0, nextMs = null } = row ?? {}
  return { queues, promoted, more: promoted === limit, nextMs }
}
