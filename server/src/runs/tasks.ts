import type { TaskState } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

type Row = Omit<TaskState, 'last_enqueued_at'> & { lastEnqueuedAt: Date }

const tasksSql = statement<[number], Row>(import.meta.url, 'tasks.sql')

/** However many runs there are, so many are looked at: the broker has no list of tasks, workers bring their own. */
const LOOKED_AT = 10_000

/** By name. */
export async function listTasks(db: Db): Promise<TaskState[]> {
  const rows = await db.query(tasksSql, [LOOKED_AT])
  return rows.map(({ lastEnqueuedAt, ...row }) => ({ ...row, last_enqueued_at: lastEnqueuedAt.toISOString() }))
}
