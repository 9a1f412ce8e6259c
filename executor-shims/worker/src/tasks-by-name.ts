import { isTask, type Task } from '../../../sdk-ts/src/define-task.js'
import { InvalidOption } from '../../../sdk-ts/src/errors.js'

/** Tasks under their names. A task may be listed twice; two tasks of one name throw InvalidOption with both places. */
export function tasksByName(tasks: Iterable<Task>): Map<string, Task> {
  const named = new Map<string, Task>()
  for (const task of tasks) {
    if (!isTask(task)) throw new InvalidOption(`${String(task)} is no task`, 'make it with defineTask()')
    const other = named.get(task.name)
    if (other && other !== task) {
      throw new InvalidOption(`Task "${task.name}" is defined twice: ${placeOf(other)} and ${placeOf(task)}`, 'rename one of them, names are global')
    }
    named.set(task.name, task)
  }
  return named
}

const placeOf = (task: Task) => task.definedAt ?? 'an unknown place'
