import type { Status } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** A run that was moved because of others: READY, or ended without having been started. */
export interface Advanced {
  run: string
  queue: string
  task: string
  status: Status
}

/** What one step did. */
export interface Step {
  /** Somebody else is at it: nothing was done here. */
  busy: boolean
  /** Notes that are done with; 0 when there were none. */
  taken: number
  /** Notes that have to wait, because somebody holds a row they are about. */
  postponed: number
  runs: Advanced[]
}

const advanceSql = statement<[number], Omit<Step, 'runs'> & { runs: string }>(import.meta.url, 'advance-workflows.sql')

/**
 * WAITING → READY, FAILED, CANCELLED, and back: takes at most `most` notes that transactions left about runs of workflows, and
 * moves the runs that waited for them. Runs that depend on those are for the next step.
 */
export async function advance(db: Db, most: number): Promise<Step> {
  const [row] = await db.query(advanceSql, [most])
  if (!row) throw new Error('advance-workflows.sql returned no row')
  return { ...row, runs: JSON.parse(row.runs) as Advanced[] }
}
