import { isFinal, type RunFailure, type RunSummary, type Status } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

interface SummaryRow {
  id: string
  task: string
  queue: string
  priority: number
  status: Status
  attempts: number
  maxAttempts: number
  timeoutSeconds: number
  enqueuedAt: Date
  runAfter: Date | null
  startedAt: Date | null
  finishedAt: Date | null
  cancelRequested: boolean
  leasedBy: string | null
  lastError: string | null
}
interface RunRow extends SummaryRow {
  args: string | null
  kwargs: string | null
  output: string | null
  errors: string
  workerIds: string
  lockKey: string | null
  concurrencyKey: string | null
  concurrencyLimit: number
  rateKey: string | null
  fairKey: string | null
  expiresAt: Date | null
  retry: string | null
  workflowId: string | null
  node: string | null
  /** Null unless READY, like all below. */
  scheduled: boolean | null
  paused: boolean | null
  pausedAt: Date | null
  pauseReason: string | null
  heldUntil: Date | null
  blockedBy: string | null
  /** Whether a worker that is connected takes runs of its queue. */
  served: boolean | null
}

/** A run as REST shows it, already JSON text: arguments and output are spliced in as stored. */
export interface FoundRun {
  id: string
  status: Status
  attempts: number
  json: string
}

export interface ListFilter {
  status?: Status | undefined
  queue?: string | undefined
  task?: string | undefined
  enqueuedBefore?: string | undefined
  enqueuedAfter?: string | undefined
  finishedBefore?: string | undefined
  finishedAfter?: string | undefined
  /** Text that last_error contains, in any case. */
  error?: string | undefined
  /** Only runs with a smaller id. */
  before?: string | undefined
  limit: number
}

const findSql = statement<[string[]], RunRow>(import.meta.url, 'find.sql')
type Text = string | null
const listSql = statement<[Text, Text, Text, Text, number, Text, Text, Text, Text, Text], SummaryRow>(import.meta.url, 'list.sql')
type Settled = { id: string } & ({ status: Status; queue: string; task: string; attempt: number } | { status: null })
const settledSql = statement<[string[]], Settled>(import.meta.url, 'settled.sql')

/** One run, whole; undefined when there is none. */
export async function find(db: Db, id: string): Promise<FoundRun | undefined> {
  const [row] = await db.query(findSql, [[id]])
  return row && { id: row.id, status: row.status, attempts: row.attempts, json: render(row) }
}

/** Newest first. */
export async function list(db: Db, filter: ListFilter): Promise<RunSummary[]> {
  const { status, queue, task, before, limit, enqueuedBefore, enqueuedAfter, finishedBefore, finishedAfter, error } = filter
  const given = (text: string | undefined): Text => text ?? null
  const times = [enqueuedBefore, enqueuedAfter, finishedBefore, finishedAfter].map(given) as [Text, Text, Text, Text]
  const rows = await db.query(listSql, [given(status), given(queue), given(task), given(before), limit, ...times, given(error)])
  return rows.map(summary)
}

/** Of these runs, the ones that are final, or gone (`status` null). */
export function settled(db: Db, ids: string[]) {
  return db.query(settledSql, [ids])
}

function render(row: RunRow): string {
  const head = JSON.stringify(summary(row)).slice(0, -1)
  const errors = JSON.stringify((JSON.parse(row.errors) as Record<string, unknown>[]).map(failure))
  const output = isFinal(row.status) && row.output !== null ? row.output : 'null'
  return `${head},"args":${row.args ?? '[]'},"kwargs":${row.kwargs ?? '{}'},"output":${output},"errors":${errors},"worker_ids":${row.workerIds},${controls(row)}}`
}

/** The last members of the object. */
function controls(row: RunRow): string {
  const texts = { lock_key: row.lockKey, concurrency_key: row.concurrencyKey, concurrency_limit: row.concurrencyKey === null ? null : row.concurrencyLimit, rate_key: row.rateKey, fair_key: row.fairKey, expires_at: instant(row.expiresAt), blocked_by: row.blockedBy, waits_for: waitsFor(row), workflow_id: row.workflowId, node: row.node }
  return `${JSON.stringify(texts).slice(1, -1)},"retry":${row.retry ?? 'null'}`
}

/** Why a READY run does not start, in a sentence: the first thing that would have to change. Null: it is about to. */
function waitsFor({ status, queue, scheduled, runAfter, paused, pausedAt, pauseReason, heldUntil, blockedBy, served }: RunRow): string | null {
  if (status !== 'READY') return null
  if (scheduled) return `its time, ${instant(runAfter) ?? 'which never comes'}`
  if (paused) return `queue "${queue}" to be resumed: it is paused${pausedAt ? ` since ${instant(pausedAt)}` : ''}${pauseReason ? `, because: ${pauseReason}` : ''}`
  if (heldUntil) return `queue "${queue}", which a task holds until ${instant(heldUntil)}`
  if (blockedBy !== null) return keyText(blockedBy)
  return served ? null : `a worker: none that is connected serves queue "${queue}"`
}

function keyText(blockedBy: string): string {
  const [, kind, key] = /^(lock|concurrency|rate):(.*)$/s.exec(blockedBy) ?? []
  if (kind === 'lock') return `the lock key "${key}", which a run that is running holds`
  if (kind === 'concurrency') return `room under the concurrency key "${key}": as many run as may`
  return `the next token of the rate limit "${key}"`
}

function summary(row: SummaryRow): RunSummary {
  return {
    id: row.id,
    task: row.task,
    queue: row.queue,
    priority: row.priority,
    status: row.status,
    attempts: row.attempts,
    max_attempts: row.maxAttempts,
    timeout_ms: row.timeoutSeconds * 1_000,
    enqueued_at: instant(row.enqueuedAt) ?? '',
    run_after: instant(row.runAfter),
    started_at: instant(row.startedAt),
    finished_at: instant(row.finishedAt),
    cancel_requested: row.cancelRequested,
    leased_by: row.leasedBy,
    last_error: row.lastError,
  }
}

/** Null also for what Postgres has and JavaScript has not: infinity, and years beyond 275,760. */
function instant(at: Date | number | null): string | null {
  return at instanceof Date && !Number.isNaN(at.getTime()) ? at.toISOString() : null
}

/** An entry of errors_json, whoever wrote it: the Go worker, manage.py or we. */
function failure(entry: Record<string, unknown>): RunFailure {
  const text = (key: string) => (typeof entry[key] === 'string' ? entry[key] : '')
  return {
    kind: text('kind') || 'app_error',
    class: text('exception_class'),
    message: text('message'),
    traceback: text('traceback') || null,
    attempt: typeof entry.attempt === 'number' ? entry.attempt : null,
    at: text('at') || null,
  }
}
