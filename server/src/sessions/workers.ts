import type { WorkerState } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

type Row = Pick<WorkerState, 'name' | 'hostname' | 'concurrency' | 'version' | 'running'> & { queues: string; startedAt: Date; lastSeenAt: Date; expiresAt: Date | null }

const workersSql = statement<[number], Row>(import.meta.url, 'workers.sql')
const LIST_MOST = 10_000

/** By name: ours, and those of other programs that have a row in reproq_workers. */
export async function listWorkers(db: Db): Promise<WorkerState[]> {
  const rows = await db.query(workersSql, [LIST_MOST])
  return rows.map(({ queues, startedAt, lastSeenAt, expiresAt, ...row }) => ({
    ...row,
    queues: JSON.parse(queues) as string[],
    connected: expiresAt !== null,
    started_at: startedAt.toISOString(),
    last_seen_at: lastSeenAt.toISOString(),
    expires_at: expiresAt?.toISOString() ?? null,
  }))
}
