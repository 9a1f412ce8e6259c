import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** Who fires schedules in this database: brokers, pg_cron in their place, or nobody. */
export type Mode = 'broker' | 'pg_cron' | 'off'

export interface SchedulerState {
  mode: Mode
  /** The broker that leads; null while none does. */
  leader: string | null
  leaderSince: Date | null
  leaderUntil: Date | null
}

const leadSql = statement<[brokerId: string, leaseMs: number], { mode: Mode; leads: boolean }>(import.meta.url, 'lead.sql')
const resignSql = statement<[brokerId: string], unknown>(import.meta.url, 'resign.sql')
const stateSql = statement<[], SchedulerState>(import.meta.url, 'state.sql')
const setModeSql = statement<[Mode], never>(import.meta.url, 'set-mode.sql')

/** Takes or keeps the leadership for this long, if brokers are the scheduler here and no other broker has it. */
export async function lead(db: Db, brokerId: string, leaseMs: number) {
  const [state] = await db.query(leadSql, [brokerId, leaseMs])
  return state ?? { mode: 'off' as const, leads: false }
}

export async function resign(db: Db, brokerId: string): Promise<void> {
  await db.query(resignSql, [brokerId])
}

export async function schedulerState(db: Db): Promise<SchedulerState> {
  const [state] = await db.query(stateSql, [])
  return state ?? { mode: 'off', leader: null, leaderSince: null, leaderUntil: null }
}

export async function setMode(db: Db, mode: Mode): Promise<void> {
  await db.query(setModeSql, [mode])
}
