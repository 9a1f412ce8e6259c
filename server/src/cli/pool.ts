import { Pool } from '../db/pool.js'
import { withDatabase } from './database.js'

/** Does `work` on the database that a command names, over one connection; what the database objects to is said with the setting to correct. */
export function withPool<Result>(databaseUrl: string | undefined, work: (pool: Pool) => Promise<Result>): Promise<Result> {
  return withDatabase(databaseUrl, async (url) => {
    const pool = new Pool(url, 1)
    try {
      return await work(pool)
    } finally {
      await pool.close()
    }
  })
}
