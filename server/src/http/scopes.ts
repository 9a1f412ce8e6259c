/** What a token may do; goes into REFERENCE.md. A scope includes no other, but for `admin`. */
export const scopes = {
  enqueue: 'Make runs and workflows; cancel, retry and replay runs by id, cancel a workflow; trigger a schedule.',
  read: 'Look at everything: runs with their payloads, results, logs and events, workflows, schedules, queues, tasks, workers, limits, operations. Waiting for a result needs it.',
  schedules: 'Create, change, sync, pause, resume and delete schedules. A schedule runs any task in any queue.',
  'work:queue:<name>': 'Connect as a worker and lease runs of this queue.',
  'work:queue:<prefix>*': 'The same for all queues whose name begins so; `work:queue:*` for every queue.',
  admin: 'Everything above; and what changes many runs at once (cancel, retry, replay, delete by filter), pauses, resumes and clears queues, sets and removes limits, drains and stops workers.',
} as const
export type Permission = Exclude<keyof typeof scopes, `work:${string}`>

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
