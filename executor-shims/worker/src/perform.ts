import { describeError } from './describe-error.js'
import type { Assignment, Executor, Settlement, Voice } from './executor.js'
import type { StopSource } from './stop-signal.js'
import { unserved } from './unserved.js'
import { withParents } from './with-parents.js'

/** Runs one attempt in the first executor that serves its task, within its run-time limit (0: none), which its code may move. Never rejects. */
export async function perform(assignment: Assignment, stopping: StopSource, executors: readonly Executor[], voice?: Voice): Promise<Settlement> {
  stopping.limit(assignment.timeout_ms, false)
  try {
    const executor = executors.find((each) => each.serves(assignment.task, assignment.queue))
    return executor ? await executor.execute(withParents(assignment), stopping, voice) : unserved(assignment.task, executors)
  } catch (error) {
    // It promised not to. The run must not hang for that, nor this worker end.
    return { outcome: 'crashed', error: describeError(error) }
  } finally {
    stopping.unlimit()
  }
}
