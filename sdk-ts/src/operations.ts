import type { Operation, OperationAction, OperationCount, OperationList } from '../../protocol/src/rest-operations.js'
import { query, type Ask } from './ask.js'
import { filterQuery, type RunFilter } from './run-filter.js'

export interface OperationRequest {
  action: OperationAction
  /** Without a status: `retry` and `replay` mean FAILED, `cancel` what is not over, `delete` what is. */
  filter: RunFilter
}

/** Work on all runs that a filter means. The brokers do it in steps, whether or not anybody waits. All need a token with `admin`; looking, one with `read`. */
export class Operations {
  readonly #ask: Ask
  constructor(ask: Ask) {
    this.#ask = ask
  }

  /** How many runs it would be about. */
  count({ action, filter }: OperationRequest): Promise<OperationCount> {
    return this.#ask('POST', '/v1/operations', { body: { action, filter: filterQuery(filter), dry_run: true } })
  }

  /** Begins. Not asked twice. Throws HttpProblem INVALID_REQUEST for an empty filter. */
  start({ action, filter }: OperationRequest): Promise<Operation> {
    return this.#ask('POST', '/v1/operations', { body: { action, filter: filterQuery(filter) }, repeatable: false })
  }

  /** How far it is. Throws HttpProblem OPERATION_NOT_FOUND. */
  get(id: string): Promise<Operation> {
    return this.#ask('GET', `/v1/operations/${encodeURIComponent(id)}`)
  }

  /** Newest first. */
  list(options: { limit?: number; cursor?: string } = {}): Promise<OperationList> {
    return this.#ask('GET', `/v1/operations?${query(options)}`)
  }

  /** What it has done stays. */
  stop(id: string): Promise<Operation> {
    return this.#ask('POST', `/v1/operations/${encodeURIComponent(id)}/stop`)
  }
}
