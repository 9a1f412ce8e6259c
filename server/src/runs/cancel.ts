import type { Status } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

const cancelSql = statement<[string[]], { run: string; queue: string; was: Status; status: Status; keyed: boolean }>(import.meta.url, 'cancel.sql')

/** WAITING or READY → CANCELLED; a RUNNING one is asked to stop. Unknown ids give no row. */
export function cancel(db: Db, runs: string[]) {
  return db.query(cancelSql, [runs])
}
