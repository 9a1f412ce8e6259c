import type { Operation, QueueControl, QueueList, QueueState } from '../../protocol/src/rest-operations.js'
import type { Ask } from './ask.js'

/** Queues: look, pause, resume, clear. */
export class Queues {
  readonly #ask: Ask
  constructor(ask: Ask) {
    this.#ask = ask
  }

  /** Those that runs wait in, that a connected worker serves, or that are paused. */
  async list(): Promise<QueueState[]> {
    return (await this.#ask<QueueList>('GET', '/v1/queues')).queues
  }

  /** At once, for every broker and worker of the database. What runs goes on. */
  pause(name: string, options: { reason?: string } = {}): Promise<QueueControl> {
    return this.#ask('POST', `${path(name)}/pause`, { body: options })
  }

  resume(name: string): Promise<QueueControl> {
    return this.#ask('POST', `${path(name)}/resume`)
  }

  /** Cancels what waits in it, scheduled runs too. */
  clear(name: string): Promise<Operation> {
    return this.#ask('POST', `${path(name)}/clear`)
  }
}

function path(name: string): string {
  return `/v1/queues/${encodeURIComponent(name)}`
}
