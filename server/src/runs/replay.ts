import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** `other`: the new run, or the active one that has the same hash. `not_final`: it is not over. `refused`: the
 * database would not have it (`error`). */
export interface Replayed {
  run: string
  outcome: 'replayed' | 'duplicate' | 'not_final' | 'refused'
  other: string | null
  error: string | null
}

const replaySql = statement<[string[]], Replayed>(import.meta.url, 'replay.sql')
const newestSql = statement<[string], { id: string }>(import.meta.url, 'newest-of-hash.sql')

/** A new run like each old one. One that cannot be does not keep the others; unknown ids give no row. */
export function replay(db: Db, runs: string[]) {
  return db.query(replaySql, [runs])
}

/** The run that a replay by hash means. */
export async function newestOfHash(db: Db, specHash: string): Promise<string | undefined> {
  return (await db.query(newestSql, [specHash]))[0]?.id
}
