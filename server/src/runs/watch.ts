import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

const overdueSql = statement<[number, string[]], { run: string; late: boolean }>(import.meta.url, 'overdue.sql')
const extendSql = statement<[number], never>(import.meta.url, 'extend.sql')

/** Leased runs of these sessions that were asked to cancel, or ran `slackMs` past their limit. */
export function overdue(db: Db, sessionIds: string[], slackMs: number) {
  return db.query(overdueSql, [slackMs, sessionIds])
}

/** Keeps `leased_until` of long runs ahead, for Reproq's own tools. */
export async function extendLeases(db: Db, leaseMs: number): Promise<void> {
  await db.query(extendSql, [leaseMs])
}
