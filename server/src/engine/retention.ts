import type { Config } from '../config.js'
import type { Db } from '../db/pool.js'
import { forget, pruneStep, type Keep } from '../runs/prune.js'
import type { Chore } from './loop.js'

const EVERY_MS = 60_000
/** Of one turn; what is left then is for the next. */
const TURN_MS = 20_000
const KEEP_OPERATIONS_HOURS = 30 * 24
const SECONDS_PER_HOUR = 3_600

export interface RetentionContext {
  pool: Db
  config: Config
  stopping: AbortSignal
}

/** Deletes what the settings do not keep, a small page at a time, with a pause as long as the work. Several brokers take turns. */
export function retention({ pool, config, stopping }: RetentionContext): Chore {
  return {
    name: 'retention',
    everyMs: EVERY_MS,
    runOnce: async () => {
      await forget(pool, config.keepWorkersHours, KEEP_OPERATIONS_HOURS)
      const keep = keepOf(config)
      if (Object.keys(keep).length === 0) return
      const until = performance.now() + TURN_MS
      for (let again = true; again && !stopping.aborted && performance.now() < until; ) {
        const started = performance.now()
        ;({ again } = await pruneStep(pool, keep))
        const tookMs = performance.now() - started
        if (again) await new Promise((resolve) => setTimeout(resolve, tookMs).unref())
      }
    },
  }
}

export function keepOf({ keepSuccessfulHours, keepFailedHours, keepCancelledHours, keepExpiredHours }: Config): Keep {
  const hours = { SUCCESSFUL: keepSuccessfulHours, FAILED: keepFailedHours, CANCELLED: keepCancelledHours, EXPIRED: keepExpiredHours }
  return Object.fromEntries(Object.entries(hours).flatMap(([what, value]) => (value > 0 ? [[what, value * SECONDS_PER_HOUR]] : [])))
}
