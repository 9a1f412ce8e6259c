import type { Executor, Settlement } from './executor.js'
import { InProcessExecutor } from './in-process.js'

/**
 * The answer for a run whose task no executor here serves. Executors of other processes have an allow-list, and being
 * outside of it is final, as in Reproq. A worker that only has tasks of its own may just be an older deploy: another
 * worker may know the task, so that is tried again.
 */
export function unserved(task: string, executors: readonly Executor[]): Settlement {
  const known = executors.map(describe).join('; ')
  if (executors.some((executor) => !(executor instanceof InProcessExecutor))) {
    const message = `No task of this worker is named "${task}", and no allow-list of its executors covers a module of that name. It has ${known}. Correct the name, or add the module of the task to the allow-list (--allow-tasks)`
    return { outcome: 'rejected', error: { class: 'SecurityViolation', message }, retryable: false }
  }
  const message = `This worker has no task "${task}". It has ${known || 'no executors'}. Correct the name, or deploy the task`
  return { outcome: 'error', error: { class: 'UnknownTask', message }, retryable: true }
}

const MOST_NAMES = 50

function describe(executor: Executor): string {
  if (!(executor instanceof InProcessExecutor)) return executor.name
  const names = executor.tasks.slice(0, MOST_NAMES).join(', ') || 'none'
  return `${executor.name} tasks: ${names}${executor.tasks.length > MOST_NAMES ? ', …' : ''}`
}
