import type { Db } from '../db/pool.js'
import { listOperations, stepOperation } from '../runs/operation.js'
import type { Chore } from './loop.js'

const AT_ONCE = 10

export interface OperationsContext {
  pool: Db
  everyMs: number
  stopping: AbortSignal
}

/**
 * Does the steps of unfinished operations, whoever started them: what an operation has done is in its row, so a broker that dies
 * loses nothing, and another goes on. Several brokers at one operation take turns.
 */
export function operations({ pool, everyMs, stopping }: OperationsContext): Chore {
  return {
    name: 'operations',
    everyMs,
    runOnce: async () => {
      const unfinished = await listOperations(pool, { limit: AT_ONCE, unfinished: true })
      // One after the other, oldest first: they may be about the same runs.
      for (const { id } of unfinished.reverse()) {
        while (!stopping.aborted && (await stepOperation(pool, id)) === 'RUNNING');
      }
    },
  }
}
