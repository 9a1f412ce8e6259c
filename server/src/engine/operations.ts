import type { Pool } from '../db/pool.js'
import { listOperations, stepOperation } from '../runs/operation.js'
import type { Left } from './due.js'

const AT_ONCE = 10

/**
 * Does the steps of unfinished operations, whoever started them: what an operation has done is in its row, so a broker that dies
 * loses nothing, and another goes on. Several brokers at one operation take turns.
 */
export async function continueOperations({ pool, stopping }: { pool: Pool; stopping: AbortSignal }): Promise<Left> {
  const unfinished = await listOperations(pool, { limit: AT_ONCE, unfinished: true })
  const errors: unknown[] = []
  // One after the other, oldest first: they may be about the same runs. One that cannot go on keeps no other.
  for (const { id } of unfinished.reverse()) {
    try {
      while (!stopping.aborted && (await stepOperation(pool, id)) === 'RUNNING');
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw errors[0]
  // What others are at they go on with; should they end, the next look finds it.
  return { more: false, nextMs: null }
}
