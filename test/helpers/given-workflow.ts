import type pg from 'pg'
import { lease, type Leased } from '../../server/src/runs/lease.js'
import { enqueueWorkflow, newWorkflow, type PlacedWorkflow } from '../../server/src/workflows/enqueue.js'
import { advance } from '../../server/src/workflows/advance.js'
import type { EnqueueWorkflowRequest, WorkflowNode } from '../../protocol/src/index.js'
import type { Db } from '../../server/src/db/pool.js'
import type { Session } from '../../server/src/sessions/sessions.js'

/** A node by its name, what it comes after, and when. */
export function node(name: string, after: string[] = [], when?: 'always' | 'failure'): WorkflowNode {
  return { name, task: `t.${name}`, ...(after.length > 0 && { after }), ...(when && { when }) }
}

/** Makes a workflow. Returns its ids by name. */
export async function givenWorkflow(db: Db, nodes: WorkflowNode[], rest: Omit<EnqueueWorkflowRequest, 'nodes'> = {}): Promise<PlacedWorkflow & { ids: Record<string, string> }> {
  const placed = await enqueueWorkflow(db, newWorkflow({ ...rest, nodes }, nodes.map((each) => JSON.stringify(each)), 1_048_576))
  return { ...placed, ids: placed.runs }
}

/** Works off every note there is. */
export async function advanceAll(db: Db): Promise<void> {
  for (let step = await advance(db, 1_000); step.taken > 0 || step.busy; step = await advance(db, 1_000));
}

/** Leases everything that is ready in `default`. */
export async function leaseAll(db: Db, session: Session, most = 1_000): Promise<Leased[]> {
  return (await lease(db, ['default'], Array.from({ length: most }, () => session), 60_000)).runs
}

/** Statuses of these runs, by name. */
export async function statesOf(others: pg.Pool, ids: Record<string, string>): Promise<Record<string, string>> {
  const { rows } = await others.query<{ id: string; status: string }>('SELECT result_id::text AS id, status FROM task_runs WHERE result_id = ANY ($1)', [Object.values(ids)])
  const byId = new Map(rows.map(({ id, status }) => [id, status]))
  return Object.fromEntries(Object.entries(ids).map(([name, id]) => [name, byId.get(id) ?? 'GONE']))
}

/**
 * What is wrong with runs that wait for others, once every note has been worked off: a run waits if and only if something it
 * waits for has not ended, and nothing it needs has failed; its children know how each run ended; workflows have counted each run once.
 */
export async function misled(others: pg.Pool): Promise<unknown[]> {
  const { rows } = await others.query(`
    SELECT 'note' AS wrong, c.result_id::text AS run FROM reproq_workflow_changes c
    UNION ALL
    SELECT 'edge', d.child_id::text FROM reproq_dependencies d LEFT JOIN task_runs p ON p.result_id = d.parent_id
     WHERE d.ended IS DISTINCT FROM CASE WHEN p.result_id IS NULL THEN coalesce(d.ended, 'missing') ELSE reproq_outcome(p.status, p.errors_json) END
    UNION ALL
    SELECT 'waits', t.result_id::text FROM task_runs t
     CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE d.ended IS NULL) AS open, coalesce(bool_or(d.ended IN ('FAILED', 'CANCELLED', 'SKIPPED', 'GONE')), false) AS broken
                           FROM reproq_dependencies d WHERE d.child_id = t.result_id) d
     WHERE t.workflow_id IS NOT NULL
       AND CASE WHEN t.status = 'WAITING' THEN d.open = 0 OR (t.reproq_when IS NULL AND d.broken) OR t.wait_count <> d.open
                -- One that runs whatever came of others may have been let go before one of those was tried again.
                WHEN t.status IN ('READY', 'RUNNING') THEN t.reproq_when IS NULL AND d.open > 0 AND t.attempts = 0 ELSE false END
    UNION ALL
    SELECT 'counts', coalesce(w.workflow_id, t.workflow_id)::text FROM reproq_workflows w
      FULL JOIN (SELECT workflow_id, count(*) AS total, count(*) FILTER (WHERE outcome = 'SUCCESSFUL') AS succeeded, count(*) FILTER (WHERE outcome = 'FAILED') AS failed,
                        count(*) FILTER (WHERE outcome = 'CANCELLED') AS cancelled, count(*) FILTER (WHERE outcome = 'SKIPPED') AS skipped
                   FROM (SELECT workflow_id, reproq_outcome(status, errors_json) AS outcome FROM task_runs WHERE workflow_id IS NOT NULL) r GROUP BY workflow_id) t USING (workflow_id)
     WHERE (w.total, w.succeeded, w.failed, w.cancelled, w.skipped) IS DISTINCT FROM (t.total, t.succeeded, t.failed, t.cancelled, t.skipped)`)
  return rows
}
