import type { Status, Workflow, WorkflowRun, WorkflowStatus, WorkflowSummary } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

interface RunRow {
  id: string
  node: string | null
  task: string
  queue: string
  status: Status
  skipped: boolean
  when: WorkflowRun['when']
  after: string[]
  attempts: number
  enqueuedAt: Date
  startedAt: Date | null
  finishedAt: Date | null
  lastError: string | null
  name: string | null
  createdAt: Date | null
}
type SummaryRow = Omit<WorkflowSummary, 'created_at'> & { number: string; createdAt: Date }

const findSql = statement<[string], RunRow>(import.meta.url, 'find-workflow.sql')
const listSql = statement<[string | null, string | null, number], SummaryRow>(import.meta.url, 'list-workflows.sql')
const unfinishedSql = statement<[string], { run: string; unfinished: boolean }>(import.meta.url, 'unfinished-runs.sql')

/** The workflow with its runs, counted as they are now; undefined when no run has its id. */
export async function findWorkflow(db: Db, id: string): Promise<Workflow | undefined> {
  const rows = await db.query(findSql, [id])
  const [first] = rows
  if (!first) return undefined
  const count = (status: Status, skipped = false) => rows.filter((row) => row.status === status && row.skipped === skipped).length
  const counts = { total: rows.length, succeeded: count('SUCCESSFUL'), failed: count('FAILED'), cancelled: count('CANCELLED'), skipped: count('CANCELLED', true) }
  return { id, name: first.name, status: statusOf(counts), created_at: (first.createdAt ?? first.enqueuedAt).toISOString(), ...counts, runs: rows.map(runOf) }
}

/** Newest first, as far as counted. */
export async function listWorkflows(db: Db, filter: { status?: WorkflowStatus | undefined; before?: string | undefined; limit: number }): Promise<{ workflows: WorkflowSummary[]; last: string | null }> {
  const rows = await db.query(listSql, [filter.status ?? null, filter.before ?? null, filter.limit])
  return { workflows: rows.map(({ number: _, createdAt, ...row }) => ({ ...row, created_at: createdAt.toISOString() })), last: rows.at(-1)?.number ?? null }
}

/** Ids of its runs that have not ended; undefined when there is no such workflow. */
export async function unfinishedRuns(db: Db, id: string): Promise<string[] | undefined> {
  const rows = await db.query(unfinishedSql, [id])
  return rows.length === 0 ? undefined : rows.filter(({ unfinished }) => unfinished).map(({ run }) => run)
}

/** The same as the generated column of reproq_workflows, whose counts are a moment behind. */
function statusOf({ total, succeeded, failed, cancelled, skipped }: Omit<WorkflowSummary, 'id' | 'name' | 'status' | 'created_at'>): WorkflowStatus {
  if (succeeded + failed + cancelled + skipped < total) return 'RUNNING'
  if (failed > 0) return 'FAILED'
  return cancelled > 0 ? 'CANCELLED' : 'SUCCESSFUL'
}

function runOf({ node, enqueuedAt: _, startedAt, finishedAt, lastError, name: __, createdAt: ___, ...run }: RunRow): WorkflowRun {
  return { ...run, name: node, started_at: startedAt?.toISOString() ?? null, finished_at: finishedAt?.toISOString() ?? null, last_error: lastError }
}
