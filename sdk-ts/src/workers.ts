import type { RetireResult, WorkerList, WorkerState } from '../../protocol/src/rest-operations.js'
import type { Ask } from './ask.js'

/** Workers: look, and tell one to leave. */
export class Workers {
  readonly #ask: Ask
  constructor(ask: Ask) {
    this.#ask = ask
  }

  async list(): Promise<WorkerState[]> {
    return (await this.#ask<WorkerList>('GET', '/v1/workers')).workers
  }

  /** It finishes what it runs, takes no more, and ends. Throws HttpProblem WORKER_NOT_FOUND. */
  drain(name: string): Promise<RetireResult> {
    return this.#ask('POST', `/v1/workers/${encodeURIComponent(name)}/drain`)
  }

  /** It gives back what it runs, which costs those runs no attempt, and ends. */
  stop(name: string): Promise<RetireResult> {
    return this.#ask('POST', `/v1/workers/${encodeURIComponent(name)}/stop`)
  }
}
