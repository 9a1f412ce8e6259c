import { type Command, Option } from 'commander'
import { durationMs, type Duration, type RunFilter, type Status } from '../../../sdk-ts/src/index.js'
import { failure } from './failure.js'

export interface FilterOptions {
  status?: Status
  queue?: string
  task?: string
  error?: string
  enqueuedBefore?: string
  enqueuedAfter?: string
  finishedBefore?: string
  finishedAfter?: string
}

const STATUSES = ['WAITING', 'READY', 'RUNNING', 'SUCCESSFUL', 'FAILED', 'CANCELLED']

/** Which runs are meant. `status` is left to commands that mean one by themselves. */
export function addFilterOptions(command: Command, { status = true } = {}): Command {
  if (status) command.addOption(new Option('--status <status>', STATUSES.join(', ')).argParser(statusOf))
  return command
    .option('--queue <name>', 'of this queue')
    .option('--task <name>', 'of this task')
    .option('--error <text>', 'whose last error contains this, in any case')
    .option('--enqueued-before <when>', 'an instant (2026-01-31T12:00:00Z), or how long ago (7d)', instant('--enqueued-before'))
    .option('--enqueued-after <when>', 'the same', instant('--enqueued-after'))
    .option('--finished-before <when>', 'the same', instant('--finished-before'))
    .option('--finished-after <when>', 'the same', instant('--finished-after'))
}

export function filterOf({ status, queue, task, error, enqueuedBefore, enqueuedAfter, finishedBefore, finishedAfter }: FilterOptions): RunFilter {
  const fields = { status, queue, task, error, enqueuedBefore, enqueuedAfter, finishedBefore, finishedAfter }
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as RunFilter
}

function statusOf(text: string): Status {
  const status = text.toUpperCase()
  if (STATUSES.includes(status)) return status as Status
  throw failure('INVALID_OPTION', `--status is "${text}"`, `it takes ${STATUSES.join(', ')}`)
}

/** Only at the edge: what is sent is an instant. */
function instant(flag: string) {
  return (text: string): string => {
    if (/^\d+(\.\d+)?(ms|s|m|h|d)$/.test(text)) return new Date(Date.now() - durationMs(text as Duration)).toISOString()
    const at = new Date(text)
    if (/^\d{4}-/.test(text) && !Number.isNaN(at.getTime())) return at.toISOString()
    throw failure('INVALID_OPTION', `${flag} is "${text}"`, 'it takes an instant such as 2026-01-31T12:00:00Z, or how long ago: 7d, 12h, 30m')
  }
}
