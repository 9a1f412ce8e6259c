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
  /** The database's time. */
  nowMs: number
}

export interface Leadership {
  mode: Mode
  leads: boolean
  /** It leads, and something is to be fired. */
  due: boolean
  /** How long the leadership of another lasts; null when nobody has it. */
  lastsMs: number | null
}

const leadSql = statement<[brokerId: string, leaseMs: number], Leadership>(import.meta.url, 'lead.sql')
const resignSql = statement<[brokerId: string], unknown>(import.meta.url, 'resign.sql')
const stateSql = statement<[], SchedulerState>(import.meta.url, 'state.sql')
const setModeSql = statement<[Mode], never>(import.meta.url, 'set-mode.sql')

/** Takes or keeps the leadership for this long, if brokers are the scheduler here and no other broker has it. */
export async function lead(db: Db, brokerId: string, leaseMs: number): Promise<Leadership> {
  const [state] = await db.query(leadSql, [brokerId, leaseMs])
  return state ?? { mode: 'off', leads: false, due: false, lastsMs: null }
}

export async function resign(db: Db, brokerId: string): Promise<void> {
  await db.query(resignSql, [brokerId])
}

export async function schedulerState(db: Db): Promise<SchedulerState> {
  const [state] = await db.query(stateSql, [])
  return state ?? { mode: 'off', leader: null, leaderSince: null, leaderUntil: null, nowMs: Date.now() }
}

export async function setMode(db: Db, mode: Mode): Promise<void> {
  await db.query(setModeSql, [mode])
}
