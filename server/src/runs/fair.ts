import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

const forgetIdleSql = statement<[number], never>(import.meta.url, 'forget-idle.sql')
const MOST_FORGOTTEN = 10_000

/** Deletes what is kept of tenants (fair keys) that have nothing waiting. Their turns are taken in SQL, where runs are made. */
export async function forgetIdleTenants(db: Db): Promise<void> {
  await db.query(forgetIdleSql, [MOST_FORGOTTEN])
}
