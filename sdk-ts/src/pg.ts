import type { Enqueued, EnqueuedWorkflow, EnqueueRequest, EnqueueWorkflowRequest } from '../../protocol/src/rest.js'
import { canonicalSpec, specShape } from '../../protocol/src/spec-text.js'
import { enqueueRequest, payloadText, type EnqueueOptions } from './enqueue-request.js'
import { InvalidInput, InvalidOption } from './errors.js'
import { ReproqError } from './reproq-error.js'
import type { CallArguments, TaskReference } from './task-reference.js'

/** What is needed of a `pg` client, or of anything that can stand in for one. */
export interface SqlClient {
  query(text: string, values: unknown[]): Promise<{ rows: Record<string, unknown>[] }>
}

// NULL means the default. The delay is added to the database's clock, which also decides what is due.
const sql = `SELECT result_id::text AS id, deduplicated FROM reproq_enqueue(
  task_path => $1, args => $2::jsonb, kwargs => $3::jsonb, queue_name => $4, priority => $5,
  run_after => COALESCE($6::timestamptz, now() + $7::float8 * interval '1 millisecond'),
  max_attempts => $8, timeout_seconds => $9, idempotency_key => $10,
  lock_key => $11, concurrency_key => $12, concurrency_limit => $13, rate_key => $14, rate_limit => $15,
  rate_per => $16::float8 * interval '1 millisecond', rate_burst => $17, fair_key => $18,
  expires_at => COALESCE($19::timestamptz, now() + $20::float8 * interval '1 millisecond'), retry => $21::jsonb,
  deduplicate => $22, canonical_spec => $23)`

/**
 * Asks for one run of a task inside your own transaction: the run exists when it commits, and never did when it rolls back.
 * `client` must be the connection that holds the transaction, not a pool. Answers with the run's id.
 * Throws InvalidInput, InvalidOption, InvalidDuration, and whatever the database reports.
 */
export async function enqueueInTransaction<T extends TaskReference>(client: SqlClient, task: T | string, ...[input, options]: CallArguments<T, EnqueueOptions>): Promise<Enqueued> {
  return insertRun(client, await enqueueRequest(task, input, options))
}

/** The same for a request that is complete. */
export async function insertRun(client: SqlClient, request: EnqueueRequest): Promise<Enqueued> {
  const { rows } = await client.query(sql, parametersOf(request))
  const [row] = rows
  if (!row) throw new ReproqError('NO_RUN', 'reproq_enqueue returned no row', { hint: 'bring the database up to date: reproq migrate' })
  return { id: String(row.id), deduplicated: row.deduplicated === true }
}

function parametersOf(request: EnqueueRequest): unknown[] {
  const args = payloadText(request.task, request.args ?? [])
  const kwargs = payloadText(request.task, request.kwargs ?? {})
  return [
    request.task,
    args,
    kwargs,
    request.queue ?? null,
    request.priority ?? null,
    request.run_after ?? null,
    request.delay_ms ?? null,
    request.max_attempts ?? null,
    request.timeout_ms === undefined ? null : timeoutSeconds(request.timeout_ms),
    request.idempotency_key ?? null,
    request.lock_key ?? null,
    request.concurrency_key ?? null,
    request.concurrency_limit ?? null,
    request.rate?.key ?? null,
    request.rate?.limit ?? null,
    request.rate?.per_ms ?? null,
    request.rate?.burst ?? null,
    request.fair_key ?? null,
    request.expires_at ?? null,
    request.expires_in_ms ?? null,
    request.retry ? JSON.stringify(request.retry) : null,
    request.deduplicate ?? false,
    request.deduplicate ? equalRun(request, args, kwargs) : null,
  ]
}

const timeoutSeconds = (ms: number) => Math.ceil(ms / 1_000)

/** What an equal run hashes to, whoever makes it: only here its arguments are still text, with every digit. */
function equalRun(request: EnqueueRequest, args: string, kwargs: string): string {
  if (request.delay_ms !== undefined) throw new InvalidOption('deduplicate and delay exclude each other: each delay makes another instant, and so another run', 'give the instant as runAt')
  const shape = specShape({
    task: request.task,
    queue: request.queue ?? 'default',
    priority: request.priority ?? 0,
    lockKey: request.lock_key ?? null,
    concurrencyKey: request.concurrency_key ?? null,
    concurrencyLimit: request.concurrency_limit ?? 0,
    runAfterMs: request.run_after === undefined ? null : Date.parse(request.run_after),
    timeoutSeconds: timeoutSeconds(request.timeout_ms ?? 900_000),
    maxAttempts: request.max_attempts ?? 3,
  })
  try {
    return canonicalSpec(shape, args, kwargs)
  } catch (error) {
    throw new InvalidInput(request.task, [{ message: error instanceof Error ? error.message : String(error) }], error)
  }
}

/** A whole workflow, its nodes in an order in which each stands after those it waits for. */
export async function insertWorkflow(client: SqlClient, { nodes, name, idempotency_key }: EnqueueWorkflowRequest): Promise<EnqueuedWorkflow> {
  const { rows } = await client.query('SELECT workflow_id::text AS id, deduplicated, runs::text FROM reproq_enqueue_workflow($1::jsonb, $2, $3)', [
    payloadText(nodes[0]?.task ?? '', nodes),
    name ?? null,
    idempotency_key ?? null,
  ])
  const [row] = rows
  if (!row) throw new ReproqError('NO_RUN', 'reproq_enqueue_workflow returned no row', { hint: 'bring the database up to date: reproq migrate' })
  return { id: String(row.id), deduplicated: row.deduplicated === true, runs: JSON.parse(String(row.runs)) as Record<string, string> }
}
