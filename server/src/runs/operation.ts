import type { Operation, OperationAction, OperationFilter, Status } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import { instantMs } from './control.js'

interface Row {
  id: string
  action: OperationAction
  filter: string
  status: Operation['status']
  error: string | null
  requestedBy: string | null
  matched: string
  changed: string
  unchanged: string
  progress: number
  createdAt: Date
  updatedAt: Date
  finishedAt: Date | null
}

const countSql = statement<[string, number], { matched: number; looked: number }>(import.meta.url, 'operation-count.sql')
const startSql = statement<[string, string, string], { id: string }>(import.meta.url, 'operation-start.sql')
const stepSql = statement<[string, number, number], { status: Operation['status'] | null }>(import.meta.url, 'operation-step.sql')
const listSql = statement<[string | null, string | null, number, boolean], Row>(import.meta.url, 'operation-list.sql')
const stopSql = statement<[string], { id: string }>(import.meta.url, 'operation-stop.sql')

/** What each action may be asked of, and is when no status is named. */
const STATUSES: Record<OperationAction, { may: Status[]; usual: Status[] }> = {
  retry: { may: ['FAILED', 'CANCELLED'], usual: ['FAILED'] },
  replay: { may: ['SUCCESSFUL', 'FAILED', 'CANCELLED'], usual: ['FAILED'] },
  cancel: { may: ['WAITING', 'READY', 'RUNNING'], usual: ['WAITING', 'READY', 'RUNNING'] },
  delete: { may: ['SUCCESSFUL', 'FAILED', 'CANCELLED'], usual: ['SUCCESSFUL', 'FAILED', 'CANCELLED'] },
}
const TIMES = ['enqueued_before', 'enqueued_after', 'finished_before', 'finished_after'] as const
/** What counting looks at: some tenths of a second, however large the table is. */
const COUNT_MOST = 200_000
/** Of one step. Small, so that nobody waits long for a row of it. */
const PAGE = 5_000
const BATCH = 250

/** How many runs it would be about. `complete`: false when only the newest were looked at. */
export async function countOperation(db: Db, action: OperationAction, filter: OperationFilter) {
  const [row] = await db.query(countSql, [filterText(action, filter), COUNT_MOST])
  return { matched: row?.matched ?? 0, complete: (row?.looked ?? 0) < COUNT_MOST }
}

/** Throws INVALID_REQUEST for a filter that means everything, a time that is none, or a status that the action cannot be asked of. */
export async function startOperation(db: Db, action: OperationAction, filter: OperationFilter, requestedBy: string): Promise<Operation> {
  const [row] = await db.query(startSql, [action, filterText(action, filter), requestedBy])
  return (await findOperation(db, row?.id ?? '')) as Operation
}

/** The status after it; null when there is nothing to do, or another broker is at it. */
export async function stepOperation(db: Db, id: string): Promise<Operation['status'] | null> {
  return (await db.query(stepSql, [id, PAGE, BATCH]))[0]?.status ?? null
}

export async function findOperation(db: Db, id: string): Promise<Operation | undefined> {
  const [row] = await db.query(listSql, [id, null, 1, false])
  return row && shown(row)
}

/** Newest first. */
export async function listOperations(db: Db, { before, limit, unfinished = false }: { before?: string | undefined; limit: number; unfinished?: boolean }): Promise<Operation[]> {
  return (await db.query(listSql, [null, before ?? null, limit, unfinished])).map(shown)
}

/** Whether it was still at work. */
export async function stopOperation(db: Db, id: string): Promise<boolean> {
  return (await db.query(stopSql, [id])).length > 0
}

function filterText(action: OperationAction, { status, ...rest }: OperationFilter): string {
  const { may, usual } = STATUSES[action]
  if (status !== undefined && !may.includes(status)) throw new BrokerError('INVALID_REQUEST', `The action "${action}" is for runs that are ${may.join(', ')}; filter.status is ${status}`)
  // `{}` would be everything there is: a slip, not a wish.
  if (status === undefined && Object.keys(rest).length === 0) throw new BrokerError('INVALID_REQUEST', 'The filter is empty; name a status, queue, task, time or error')
  return JSON.stringify({ statuses: status === undefined ? usual : [status], ...rest, ...instants(rest) })
}

/** As Postgres reads them, whatever zone they were given in. */
function instants(filter: Omit<OperationFilter, 'status'>): Partial<OperationFilter> {
  return Object.fromEntries(TIMES.flatMap((field) => (filter[field] === undefined ? [] : [[field, new Date(instantMs(filter[field], field, 'The filter')).toISOString()]])))
}

function shown({ filter, matched, changed, unchanged, requestedBy, createdAt, updatedAt, finishedAt, ...row }: Row): Operation {
  const { statuses, ...rest } = JSON.parse(filter) as { statuses: Status[] }
  return {
    ...row,
    filter: { ...rest, statuses },
    requested_by: requestedBy,
    matched: Number(matched),
    changed: Number(changed),
    unchanged: (JSON.parse(unchanged) as { run: number; outcome: string; other: number | null; error: string | null }[]).map(({ run, other, ...rest }) => ({ run: String(run), other: other === null ? null : String(other), ...rest })),
    created_at: createdAt.toISOString(),
    updated_at: updatedAt.toISOString(),
    finished_at: finishedAt?.toISOString() ?? null,
  }
}
