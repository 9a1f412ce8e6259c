import type { Command } from 'commander'
import { durationMs, type Duration } from '../../../sdk-ts/src/index.js'
import { keepOf } from '../engine/retention.js'
import { forget, pruneAll, type Keep } from '../runs/prune.js'
import { failure } from './failure.js'
import { addOutput, printRow, type Format } from './output.js'
import { withPool } from './pool.js'
import { configOf } from './settings-options.js'

interface PruneOptions {
  successful?: string
  failed?: string
  cancelled?: string
  over?: string
  expired?: boolean
  workers?: string
  dryRun?: boolean
  databaseUrl?: string
  output: Format
}

const HOUR_MS = 3_600_000
const FOR_EVER_HOURS = 1_000_000

/** `reproq prune`: deletes old runs now, on the database itself. Brokers do it by the clock when REPROQ_KEEP_… says so. */
export function registerPrune(program: Command): void {
  addOutput(program.command('prune'))
    .description('Delete runs that have been over for long enough, in small batches. What waits or runs, or is needed by such a run, stays. Without options: by the REPROQ_KEEP_… settings.')
    .option('--successful <age>', 'runs that succeeded this long ago, such as 7d')
    .option('--failed <age>', 'runs that failed this long ago')
    .option('--cancelled <age>', 'runs that were cancelled this long ago')
    .option('--over <age>', 'all three')
    .option('--expired', 'runs that are over and past their expires_at')
    .option('--workers <age>', 'workers without a session that were last seen this long ago')
    .option('--dry-run', 'only count')
    .option('--database-url <url>', 'Postgres of the broker [REPROQ_DATABASE_URL, DATABASE_URL]')
    .addHelpText('after', '\nExamples:\n  reproq prune --successful 7d --failed 30d --dry-run\n  REPROQ_KEEP_SUCCESSFUL_HOURS=168 reproq prune')
    .action(async (options: PruneOptions) => {
      const keep = asked(options)
      const workers = options.workers === undefined ? undefined : ageMs('--workers', options.workers) / HOUR_MS
      if (Object.keys(keep).length === 0 && workers === undefined) {
        throw failure('INVALID_USAGE', 'What to prune?', 'name an age, such as --successful 7d, or set REPROQ_KEEP_SUCCESSFUL_HOURS')
      }
      await withPool(options.databaseUrl, async (pool) => {
        const { due, deleted } = Object.keys(keep).length === 0 ? { due: 0, deleted: 0 } : await pruneAll(pool, keep, { dryRun: options.dryRun ?? false })
        const gone = workers === undefined || options.dryRun ? 0 : await forget(pool, workers, FOR_EVER_HOURS)
        await printRow(options.output, { due, deleted, workers_forgotten: gone }, (row) => String(row.deleted))
      })
    })
}

function asked({ successful, failed, cancelled, over, expired, workers }: PruneOptions): Keep {
  const ages = { SUCCESSFUL: successful ?? over, FAILED: failed ?? over, CANCELLED: cancelled ?? over }
  const keep: Keep = Object.fromEntries(Object.entries(ages).flatMap(([status, age]) => (age === undefined ? [] : [[status, ageMs(`--${status.toLowerCase()}`, age) / 1_000]])))
  if (expired) keep.EXPIRED = 0
  return Object.keys(keep).length > 0 || workers !== undefined ? keep : keepOf(configOf())
}

function ageMs(flag: string, text: string): number {
  if (/^\d+(\.\d+)?(ms|s|m|h|d)$/.test(text)) return durationMs(text as Duration)
  throw failure('INVALID_OPTION', `${flag} is "${text}"`, 'it takes an age such as 7d, 12h or 30m')
}
