import type { TaskList, TaskState } from '../../protocol/src/rest-operations.js'
import type { Ask } from './ask.js'

/** What runs say of the tasks they are of. */
export class Tasks {
  readonly #ask: Ask
  constructor(ask: Ask) {
    this.#ask = ask
  }

  /** Those of the newest 10,000 runs, by name. */
  async list(): Promise<TaskState[]> {
    return (await this.#ask<TaskList>('GET', '/v1/tasks')).tasks
  }
}
