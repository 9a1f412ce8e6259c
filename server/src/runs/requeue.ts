import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** `duplicate`: an active run has the same hash (`other`) and the database allows one. `already_successful`: only a replay can
 * run it again. `not_final`: it is not over. `refused`: the
 * database would not have it (`error`). */
export interface Requeued {
  run: string
  outcome: 'retried' | 'duplicate' | 'already_successful' | 'not_final' | 'refused'
  other: string | null
  error: string | null
}

const requeueSql = statement<[string[]], Requeued>(import.meta.url, 'requeue.sql')

/** FAILED or CANCELLED → READY, with all attempts before it again. One that cannot be does not keep the others; unknown ids give no row. */
export function requeue(db: Db, runs: string[]) {
  return db.query(requeueSql, [runs])
}
