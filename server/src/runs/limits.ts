import type { Limit, LimitRequest, LimitUnit } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

interface Row {
  key: string
  perSecond: number
  burst: number
  tokens: number | null
}
const limitsSql = statement<[keys: string[] | null, limit: number | null, after: string | null], Row>(import.meta.url, 'limits.sql')
const limitSetSql = statement<[string, number, number], never>(import.meta.url, 'limit-set.sql')
const limitForgetSql = statement<[after: string, limit: number, unusedMs: number], { last: string; looked: number; forgotten: number }>(import.meta.url, 'limit-forget.sql')
const limitRemoveSql = statement<[string], { key: string }>(import.meta.url, 'limit-remove.sql')

const SECONDS: Record<LimitUnit, number> = { second: 1, minute: 60, hour: 3_600, day: 86_400 }

/** Rate limits by key: all, or a page of those after `after`. */
export async function limits(db: Db, { limit, after }: { limit?: number; after?: string | undefined } = {}): Promise<Limit[]> {
  return (await db.query(limitsSql, [null, limit ?? null, after ?? null])).map(limitOf)
}

export async function findLimit(db: Db, key: string): Promise<Limit | undefined> {
  return (await db.query(limitsSql, [[key], 1, null])).map(limitOf)[0]
}

/** Makes a rate limit, or gives it other numbers; its bucket begins full. Holds at once, also for runs that wait, and whatever runs say of their key. */
export async function setLimit(db: Db, key: string, { limit, per, burst }: LimitRequest): Promise<Limit> {
  await db.query(limitSetSql, [key, limit / SECONDS[per], burst ?? Math.max(1, Math.floor(limit))])
  const set = await findLimit(db, key)
  if (!set) throw new Error('the limit was taken away at the same time')
  return set
}

/** Whether there was one. */
export async function removeLimit(db: Db, key: string): Promise<boolean> {
  return (await db.query(limitRemoveSql, [key])).length > 0
}

const PAGE = 10_000
const UNUSED_MS = 60_000

/**
 * Deletes buckets of rate keys that are full again: the next run makes one that is as full. What somebody has set stays. Looks at a
 * page of buckets after the key `after`, and at the next as long as a tenth of one goes. Returns where to go on, '' for the beginning.
 */
export async function forgetFullBuckets(db: Db, after = '', { limit = PAGE, unusedMs = UNUSED_MS } = {}): Promise<string> {
  for (;;) {
    const [page] = await db.query(limitForgetSql, [after, limit, unusedMs])
    if (!page || page.looked < limit) return ''
    after = page.last
    if (page.forgotten < limit / 10) return after
  }
}

function limitOf({ key, perSecond, burst, tokens }: Row): Limit {
  return { key, ...inUnits(perSecond), burst, tokens, active: tokens !== null }
}

/** The rate as somebody may have said it: Postgres keeps 10 a minute as 0.16666667 a second. */
export function inUnits(perSecond: number): { limit: number; per: LimitUnit } {
  for (const [per, seconds] of Object.entries(SECONDS) as [LimitUnit, number][]) {
    const limit = Math.round(perSecond * seconds)
    if (Math.abs(perSecond * seconds - limit) <= 1e-6 * limit) return { limit, per }
  }
  return { limit: Number(perSecond.toPrecision(6)), per: 'second' }
}
