import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** How long what is over is kept, in seconds since its end (EXPIRED: since its expires_at). What is not named is kept for ever. */
export type Keep = { [What in 'SUCCESSFUL' | 'FAILED' | 'CANCELLED' | 'EXPIRED']?: number }

interface Page {
  lastId: string | null
  looked: number
  due: number
  deleted: number
}

const stepSql = statement<[string, number], { deleted: number | null; again: boolean | null }>(import.meta.url, 'prune-step.sql')
const pageSql = statement<[string, string, number, string, boolean], Page>(import.meta.url, 'prune-page.sql')
const forgetSql = statement<[number, number], { workers: number }>(import.meta.url, 'forget.sql')

/** Of one step: short, so that nobody waits long for it. */
const PAGE = 1_000
const TOP = '9223372036854775807'

/** One step of the pruning by the clock, whose place the database keeps. `again`: another one now is worth it. */
export async function pruneStep(db: Db, keep: Keep): Promise<{ deleted: number; again: boolean }> {
  const [row] = await db.query(stepSql, [JSON.stringify(keep), PAGE])
  return { deleted: row?.deleted ?? 0, again: row?.again ?? false }
}

/** Goes once through all there is. `due` counts what is over for long enough; what something alive still needs is due and stays. */
export async function pruneAll(db: Db, keep: Keep, { dryRun = false, limit = Number.POSITIVE_INFINITY } = {}): Promise<{ due: number; deleted: number }> {
  const total = { due: 0, deleted: 0 }
  let after: string | null = '-1'
  while (after !== null) {
    const left = limit - (dryRun ? total.due : total.deleted)
    if (left <= 0) break
    const [page]: Page[] = await db.query(pageSql, [after, TOP, Math.min(PAGE, left), JSON.stringify(keep), dryRun])
    total.due += page?.due ?? 0
    total.deleted += page?.deleted ?? 0
    after = page?.lastId ?? null
  }
  return total
}

/** Forgets workers that have not been heard of, and operations that ended long ago. Returns how many workers. */
export async function forget(db: Db, workerHours: number, operationHours: number): Promise<number> {
  return (await db.query(forgetSql, [workerHours, operationHours]))[0]?.workers ?? 0
}
