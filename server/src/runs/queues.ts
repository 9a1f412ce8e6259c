import type { QueueControl, QueueState } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

interface ControlRow {
  name: string
  paused: boolean
  pausedAt: Date | null
  reason: string | null
}
type StateRow = ControlRow & Pick<QueueState, 'ready' | 'blocked' | 'scheduled' | 'running' | 'workers'> & { oldestReadyAt: Date | null; heldUntil: Date | null }

const queuesSql = statement<[number], StateRow>(import.meta.url, 'queues.sql')
const pauseSql = statement<[string, string | null, boolean], ControlRow>(import.meta.url, 'queue-pause.sql')

const COUNT_TO = 10_000

/** By name. */
export async function listQueues(db: Db): Promise<QueueState[]> {
  const rows = await db.query(queuesSql, [COUNT_TO])
  return rows.map(({ oldestReadyAt, pausedAt, heldUntil, ...row }) => ({ ...row, held_until: heldUntil?.toISOString() ?? null, oldest_ready_at: oldestReadyAt?.toISOString() ?? null, paused_at: pausedAt?.toISOString() ?? null }))
}

/** Nothing of the queue is leased from now on, by anybody; the row is Reproq's own. */
export const pauseQueue = (db: Db, queue: string, reason: string | null) => control(db, queue, reason, true)

export const resumeQueue = (db: Db, queue: string) => control(db, queue, null, false)

async function control(db: Db, queue: string, why: string | null, pause: boolean): Promise<QueueControl> {
  const [{ pausedAt, ...row }] = (await db.query(pauseSql, [queue, why, pause])) as [ControlRow]
  return { ...row, paused_at: pausedAt?.toISOString() ?? null }
}
