import type { Executor } from './executor.js'

/** The same executor, for runs of some queues only; `mail-*` is every queue that begins with `mail-`. */
export function forQueues(executor: Executor, queues: readonly string[]): Executor {
  const matches = (queue: string) => queues.some((pattern) => (pattern.endsWith('*') ? queue.startsWith(pattern.slice(0, -1)) : queue === pattern))
  return {
    ...(executor.isInProcess && { isInProcess: true }),
    name: executor.name,
    takesFrom: matches,
    serves: (task, queue) => queue !== undefined && matches(queue) && executor.serves(task, queue),
    execute: (assignment, signal, voice) => executor.execute(assignment, signal, voice),
    reload: () => executor.reload?.(),
    stop: () => executor.stop(),
  }
}
