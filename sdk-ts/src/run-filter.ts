import type { Status } from '../../protocol/src/rest.js'

/** Which runs are meant; what is left out does not matter. */
export interface RunFilter {
  status?: Status
  queue?: string
  task?: string
  enqueuedBefore?: Date | string
  enqueuedAfter?: Date | string
  finishedBefore?: Date | string
  finishedAfter?: Date | string
  /** Text that the last error contains, in any case. */
  error?: string
}

/** As REST names it. */
export function filterQuery({ status, queue, task, error, ...times }: RunFilter): Record<string, string | undefined> {
  const instant = (time: Date | string | undefined) => (time instanceof Date ? time.toISOString() : time)
  return {
    status,
    queue,
    task,
    enqueued_before: instant(times.enqueuedBefore),
    enqueued_after: instant(times.enqueuedAfter),
    finished_before: instant(times.finishedBefore),
    finished_after: instant(times.finishedAfter),
    error,
  }
}
