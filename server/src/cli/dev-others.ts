import pg from 'pg'
import type { Events } from '../events.js'
import { isDevWorker, type DevWorker } from './dev-worker.js'

/** Tells the worker of `reproq dev` which queues the workers serve that people start beside it. */
export function followOthers(events: Events, databaseUrl: string, worker: DevWorker): void {
  const queuesOf = new Map<string, string[]>()
  const tell = () => worker.leaveToOthers([...new Set([...queuesOf.values()].flat())])
  const gone = ({ sessionId }: { sessionId: string }) => {
    if (queuesOf.delete(sessionId)) tell()
  }
  events.on('session.opened', ({ sessionId, workerId }) => {
    if (isDevWorker(workerId)) return
    // Told without: then a run of that worker may cost an attempt, and no more.
    void registeredQueues(databaseUrl, workerId).then((queues) => {
      queuesOf.set(sessionId, queues)
      tell()
    }, () => undefined)
  })
  events.on('session.closed', gone)
  events.on('session.lost', gone)
}

async function registeredQueues(databaseUrl: string, workerId: string): Promise<string[]> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const { rows } = await client.query<{ queues: string[] }>('SELECT queues FROM reproq_workers WHERE worker_id = $1', [workerId])
    return rows[0]?.queues ?? []
  } finally {
    await client.end()
  }
}
