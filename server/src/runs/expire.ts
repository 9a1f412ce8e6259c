import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** A run that came too late, cancelled. `keyed`: its keys may have room for others now. */
export interface Expired {
  run: string
  queue: string
  task: string
  attempt: number
  keyed: boolean
}

/** Most runs of one statement. */
const BATCH = 500
const expireSql = statement<[number], (Expired | { run: null }) & { more: boolean; nextMs: number | null }>(import.meta.url, 'expire.sql')

/** WAITING or READY → CANCELLED for runs that have expired. `more`: others may have now. `nextMs`: until the next one does, null when none will. */
export async function expire(db: Db, limit = BATCH) {
  const rows = await db.query(expireSql, [limit])
  const { more = false, nextMs = null } = rows[0] ?? {}
  return { runs: rows.filter((row): row is Expired & typeof row => row.run !== null), more, nextMs }
}
