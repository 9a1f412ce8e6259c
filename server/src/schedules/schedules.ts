import { randomUUID } from 'node:crypto'
import type { RetryPolicy } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import { BrokerError } from '../errors.js'
import { timetable } from './cron.js'
import { schedulerState } from './leadership.js'
import { periodicSpec, type Template } from './periodic-spec.js'
import type { SlotRules } from './plan.js'

/** A schedule as it is stored. Null columns mean the default. */
export interface Schedule extends Template, SlotRules {
  retry: string | null
  lockKey: string | null
  fairKey: string | null
  expiresInMs: number | null
  overlap: 'allow' | 'skip' | 'queue_one' | null
  enabled: boolean
  source: 'code' | 'rest' | 'sql' | 'django' | null
  app: string | null
  nextRunAt: Date | number
  lastRunAt: Date | null
  skipped: number
  error: string | null
  errorAt: Date | null
  updatedAt: Date
  /** The database's time when it was read. */
  nowMs: number
}

/** A schedule to be. `enabled` null: as it is, or on. `payload` is JSON text. */
export interface NewSchedule extends Template, SlotRules {
  retry: RetryPolicy | null
  lockKey: string | null
  fairKey: string | null
  expiresInMs: number | null
  overlap: 'allow' | 'skip' | 'queue_one' | null
  enabled: boolean | null
}

export interface Put {
  name: string
  outcome: 'created' | 'updated' | 'unchanged' | 'removed'
}

/** What a slot made. The status is null when the run has been pruned. */
export interface Firing {
  run: string
  slot: Date
  firedBy: string
  status: string | null
  finishedAt: Date | null
}

const putSql = statement<[schedules: string, source: string, app: string | null, removeOthers: boolean], Put>(import.meta.url, 'put.sql')
const listSql = statement<[limit: number, after: string | null, name: string | null], Schedule>(import.meta.url, 'list-schedules.sql')
const firingsSql = statement<[name: string, limit: number], Firing>(import.meta.url, 'firings.sql')
const enableSql = statement<[name: string, enabled: boolean, next: string], { name: string }>(import.meta.url, 'enable.sql')
const removeSql = statement<[name: string], { name: string }>(import.meta.url, 'remove.sql')
const triggerSql = statement<[name: string, spec: string, specHash: string], { run: string }>(import.meta.url, 'trigger.sql')

/** Creates schedules, or changes what differs; with `removeOthers`, those of the same source and program that are not among them go. */
export async function putSchedules(db: Db, schedules: NewSchedule[], from: { source: 'code' | 'rest'; app: string | null; removeOthers: boolean }): Promise<Put[]> {
  const nowMs = Math.floor((await schedulerState(db)).nowMs / 1_000) * 1_000
  const items = schedules.map(({ payload, ...schedule }) => {
    const fields = JSON.stringify({ ...schedule, nextRunAt: new Date(timetable(schedule.cron, schedule.timeZone).next(nowMs)).toISOString() })
    // Put in as text, digit for digit.
    return `${fields.slice(0, -1)},"payload":${payload}}`
  })
  const rows = await db.query(putSql, [`[${items.join(',')}]`, from.source, from.app, from.removeOthers])
  return rows.map(({ name, outcome }) => ({ name, outcome }))
}

export function listSchedules(db: Db, limit: number, after: string | null = null): Promise<Schedule[]> {
  return db.query(listSql, [limit, after, null])
}

/** Throws SCHEDULE_NOT_FOUND. */
export async function findSchedule(db: Db, name: string): Promise<Schedule> {
  const [schedule] = await db.query(listSql, [1, null, name])
  return schedule ?? missing(name)
}

export function listFirings(db: Db, name: string, limit: number): Promise<Firing[]> {
  return db.query(firingsSql, [name, limit])
}

/** Pauses or resumes. Throws SCHEDULE_NOT_FOUND, and INVALID_CRON for a resume of what can never fire. */
export async function enableSchedule(db: Db, name: string, enabled: boolean): Promise<void> {
  const { cron, timeZone, nowMs } = await findSchedule(db, name)
  const next = enabled ? timetable(cron, timeZone).next(Math.floor(nowMs / 1_000) * 1_000) : nowMs
  if ((await db.query(enableSql, [name, enabled, new Date(next).toISOString()])).length === 0) missing(name)
}

/** Throws SCHEDULE_NOT_FOUND. */
export async function removeSchedule(db: Db, name: string): Promise<void> {
  if ((await db.query(removeSql, [name])).length === 0) missing(name)
}

/** Makes a run now, beside the slots. Returns its id. Throws SCHEDULE_NOT_FOUND and INVALID_SCHEDULE. */
export async function triggerSchedule(db: Db, name: string): Promise<string> {
  const schedule = await findSchedule(db, name)
  const { spec } = periodicSpec(schedule, schedule.nowMs)
  // Two triggers within a second are two runs, also where the Go worker's index allows one active run per hash.
  const { specHash } = periodicSpec({ ...schedule, name: `${name} ${randomUUID()}` }, schedule.nowMs)
  const [made] = await db.query(triggerSql, [name, spec, specHash])
  return made?.run ?? missing(name)
}

function missing(name: string): never {
  throw new BrokerError('SCHEDULE_NOT_FOUND', `No schedule is named "${name}"`)
}
