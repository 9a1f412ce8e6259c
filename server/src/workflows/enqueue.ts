import { members, storageFault, type EnqueuedWorkflow, type EnqueueWorkflowRequest } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import { BrokerError } from '../errors.js'
import { newRun } from '../runs/spec.js'
import { inOrder } from './graph.js'

/** A workflow that was made, or the one its idempotency key already had, with the ids of its runs by name. */
export type PlacedWorkflow = EnqueuedWorkflow

/** A workflow to be made: its nodes as reproq_enqueue_workflow takes them, parents before children. */
export interface NewWorkflow {
  name: string | null
  idempotencyKey: string | null
  /** JSON text. */
  nodes: string
}

const enqueueWorkflowSql = statement<[string, string | null, string | null], { id: string; deduplicated: boolean; runs: string }>(import.meta.url, 'enqueue-workflow.sql')

/**
 * One validated request → the workflow to insert. `sources` are the nodes' own JSON texts: arguments are cut out of them.
 * Throws INVALID_WORKFLOW for a graph that cannot be, and what `newRun` throws for a node.
 */
export function newWorkflow(request: EnqueueWorkflowRequest, sources: string[], limitBytes: number): NewWorkflow {
  const sourceOf = new Map(request.nodes.map((node, index) => [node, sources[index] as string]))
  const nodes = inOrder(request.nodes)
  for (const text of [request.name, request.idempotency_key, ...nodes.map((node) => node.name)]) checkStorable(text)
  const texts = nodes.map((node) => {
    const { spec, runAfterMs, control } = newRun(node, sourceOf.get(node) as string, limitBytes, `Node "${node.name}"`)
    const fields = [...members(sourceOf.get(node) as string)].filter(([name]) => !REPLACED.has(name)).map(([name, text]) => `${JSON.stringify(name)}:${text}`)
    if (runAfterMs !== null) fields.push(`"run_after":${JSON.stringify(new Date(runAfterMs).toISOString())}`)
    if (typeof control?.expiresAtMs === 'number') fields.push(`"expires_at":${JSON.stringify(new Date(control.expiresAtMs).toISOString())}`)
    return `{${fields.join(',')},"spec":${spec}}`
  })
  return { name: request.name ?? null, idempotencyKey: request.idempotency_key ?? null, nodes: `[${texts.join(',')}]` }
}

function checkStorable(text: string | undefined) {
  const fault = text === undefined ? undefined : storageFault(JSON.stringify(text), 1)
  if (fault) throw new BrokerError('INVALID_PAYLOAD', `The name ${JSON.stringify(text)} cannot be stored: ${fault.code}`)
}

/** What the spec says, or we say better: instants as every Postgres reads them. */
const REPLACED = new Set(['args', 'kwargs', 'input', 'delay_ms', 'run_after', 'expires_at'])

/** All runs of the workflow, or none: those that wait for nothing READY, the others WAITING. */
export async function enqueueWorkflow(db: Db, { nodes, name, idempotencyKey }: NewWorkflow): Promise<PlacedWorkflow> {
  const [row] = await db.query(enqueueWorkflowSql, [nodes, name, idempotencyKey])
  if (!row) throw new Error('enqueue-workflow.sql returned no row')
  return { ...row, runs: JSON.parse(row.runs) as Record<string, string> }
}
