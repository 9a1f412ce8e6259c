import type { Db } from '../db/pool.js'
import type { Statement } from '../db/statement.js'
import type { Events } from '../events.js'
import type { Chore } from './loop.js'

const EVERY_MS = 5_000
const ENOUGH_RUNS = 50_000

/** TRUNCATE off: giving the end of a file back needs a lock that stands in everybody's way. */
const vacuumSql: Statement<[], never> = {
  name: 'reproq_vacuum',
  text: 'VACUUM (SKIP_LOCKED, TRUNCATE off) reproq_ready, reproq_leases, reproq_scheduled, reproq_blocked, reproq_holds, reproq_freed, reproq_sessions',
}

/**
 * Under load the narrow tables are filled and emptied many times before autovacuum, which comes once a minute by default, looks at
 * them. They are small, so a vacuum of our own takes milliseconds; after a quiet time there is nothing to do, and nothing is asked.
 * A role that does not own the tables gets a warning from Postgres, and autovacuum has to do.
 */
export function vacuum(db: Db, events: Events, enoughRuns = ENOUGH_RUNS): Chore {
  let settled = 0
  events.on('run.settled', () => void settled++)
  return {
    name: 'vacuum',
    everyMs: EVERY_MS,
    async runOnce() {
      if (settled < enoughRuns) return
      settled = 0
      await db.query(vacuumSql, [])
    },
  }
}
