import { describeError } from './describe-error.js'
import { Stop, type Assignment, type Executor, type Settlement, type Voice } from './executor.js'
import type { StopSource } from './stop-signal.js'
import { unserved } from './unserved.js'
import { withParents } from './with-parents.js'

/** setTimeout fires at once for anything longer (24.8 days). */
const LONGEST_TIMER_MS = 2_147_483_647

/** Runs one attempt in the first executor that serves its task, within its run-time limit (0: none). Never rejects. */
export async function perform(assignment: Assignment, stopping: StopSource, executors: readonly Executor[], voice?: Voice): Promise<Settlement> {
  const limitMs = Math.min(assignment.timeout_ms, LONGEST_TIMER_MS)
  const limit = limitMs > 0 ? setTimeout(() => stopping.abort(new Stop('timeout')), limitMs) : undefined
  try {
    const executor = executors.find((each) => each.serves(assignment.task, assignment.queue))
    return executor ? await executor.execute(withParents(assignment), stopping, voice) : unserved(assignment.task, executors)
  } catch (error) {
    // It promised not to. The run must not hang for that, nor this worker end.
    return { outcome: 'crashed', error: describeError(error) }
  } finally {
    clearTimeout(limit)
  }
}
