import { sqlState, type Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import { BrokerError } from '../errors.js'
import { schedulerState } from './leadership.js'

export interface PgCronJob {
  /** Null for a job whose schedule is gone. */
  name: string | null
  job: string | null
  schedule: string
  /** not_covered: pg_cron cannot fire it (a time zone, seconds, @every). */
  state: 'in_step' | 'missing' | 'differs' | 'stray' | 'not_covered'
}

const installSql = statement<[], unknown>(import.meta.url, 'pg-cron-install.sql')
const removeSql = statement<[], unknown>(import.meta.url, 'pg-cron-remove.sql')
const syncSql = statement<[], unknown>(import.meta.url, 'pg-cron-sync.sql')
const statusSql = statement<[], PgCronJob & { zone: string }>(import.meta.url, 'pg-cron-status.sql')

/** pg_cron becomes the database's scheduler; brokers stand still. Throws PG_CRON_UNAVAILABLE. */
export async function installPgCron(db: Db): Promise<void> {
  try {
    await db.query(installSql, [])
  } catch (error) {
    throw sqlState(error) === undefined ? error : new BrokerError('PG_CRON_UNAVAILABLE', (error as Error).message, { cause: error })
  }
}

/** Brokers become the scheduler again. */
export async function removePgCron(db: Db): Promise<void> {
  await db.query(removeSql, [])
}

/** For jobs that somebody else changed; changes of schedules are followed by a trigger. Throws PG_CRON_UNAVAILABLE when it is not installed. */
export async function syncPgCron(db: Db): Promise<void> {
  const { mode } = await schedulerState(db)
  if (mode !== 'pg_cron') throw new BrokerError('PG_CRON_UNAVAILABLE', `pg_cron is not this database's scheduler; that is "${mode}"`)
  await db.query(syncSql, [])
}

export async function pgCronStatus(db: Db) {
  const rows = await db.query(statusSql, [])
  const { mode } = await schedulerState(db)
  return { mode, zone: rows[0]?.zone ?? null, jobs: rows.map(({ name, job, schedule, state }): PgCronJob => ({ name, job, schedule, state })) }
}
