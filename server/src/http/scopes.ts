/**
 * What a token may do. `schedules` makes, changes and removes schedules; `admin` includes everything; `work:queue:mail-*`
 * leases runs of queues whose name begins with `mail-`; a pattern without a star is one queue.
 */
export type Permission = 'enqueue' | 'read' | 'schedules' | 'admin'

const SCOPE = /^(enqueue|read|schedules|admin|work:queue:[^*]{0,255}\*?)$/

/** Whether the text is a scope at all. */
export const isScope = (scope: string): boolean => SCOPE.test(scope) && scope !== 'work:queue:'

export function permits(scopes: readonly string[], permission: Permission): boolean {
  return scopes.includes(permission) || scopes.includes('admin')
}

/** Whether a worker with these scopes may lease from the queue. Nobody may from one that Postgres has no text for. */
export function permitsWork(scopes: readonly string[], queue: string): boolean {
  if (queue.includes('\0')) return false
  return scopes.some((scope) => scope === 'admin' || (scope.startsWith('work:queue:') && matches(scope.slice('work:queue:'.length), queue)))
}

/** Whether they let it work on any queue. */
export function permitsAnyWork(scopes: readonly string[]): boolean {
  return scopes.some((scope) => scope === 'admin' || scope.startsWith('work:queue:'))
}

function matches(pattern: string, queue: string): boolean {
  return pattern.endsWith('*') ? queue.startsWith(pattern.slice(0, -1)) : queue === pattern
}
