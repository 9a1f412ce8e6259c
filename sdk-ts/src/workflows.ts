import type { CancelWorkflowResult, Workflow, WorkflowList, WorkflowStatus } from '../../protocol/src/rest.js'
import { query, type Ask } from './ask.js'

/** Which workflows to list. Newest first. */
export interface WorkflowFilter {
  status?: WorkflowStatus
  /** How many at most. */
  limit?: number
  /** `next_cursor` of the list before. */
  cursor?: string
}

/** Workflows that were enqueued: look, cancel. Every method throws BrokerUnreachable and HttpProblems, WorkflowNotFound among them. */
export class Workflows {
  readonly #ask: Ask
  constructor(ask: Ask) {
    this.#ask = ask
  }

  /** Without their runs. */
  list(filter: WorkflowFilter = {}): Promise<WorkflowList> {
    return this.#ask('GET', `/v1/workflows?${query({ ...filter })}`)
  }

  /** As it is now, with its runs. */
  get(id: string): Promise<Workflow> {
    return this.#ask('GET', path(id))
  }

  /** Every run of it that has not ended. */
  cancel(id: string): Promise<CancelWorkflowResult> {
    return this.#ask('POST', `${path(id)}/cancel`)
  }
}

const path = (id: string) => `/v1/workflows/${encodeURIComponent(id)}`
