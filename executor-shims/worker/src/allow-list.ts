/** What an empty allow-list means, as in Reproq. */
const CONVENTIONAL = ['myapp.tasks.', 'tasks.']

/**
 * Whether a task path may be run: it starts with one of the prefixes. `*` allows everything. A prefix is plain text, so
 * `shop.tasks.` means that module while `shop.tasks` lets `shop.tasks_of_others.x` pass too.
 */
export function isAllowed(task: string, prefixes: readonly string[]): boolean {
  const allowed = prefixes.length === 0 ? CONVENTIONAL : prefixes
  return allowed.some((prefix) => prefix === '*' || (prefix !== '' && task.startsWith(prefix)))
}
