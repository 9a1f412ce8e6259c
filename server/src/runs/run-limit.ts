import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** What running code asks for: so much run-time from now on. */
export interface WantedLimit {
  run: string
  lease: string
  timeoutMs: number
}

const runLimitSql = statement<[string[], string[], number[], number], { lease: string; leftMs: number }>(import.meta.url, 'run-limit.sql')

/**
 * Sets the run-time that leases have left, at most `maxMs` from when they began; of each lease the last wish counts. Says what is left
 * of each, in ms: below 1 when the maximum is reached, undefined when the lease is over.
 */
export async function setRunLimits(db: Db, wanted: WantedLimit[], maxMs: number): Promise<(number | undefined)[]> {
  const last = [...new Map(wanted.map((one) => [one.lease, one])).values()]
  const rows = await db.query(runLimitSql, [last.map(({ run }) => run), last.map(({ lease }) => lease), last.map(({ timeoutMs }) => timeoutMs), maxMs])
  const leftMs = new Map(rows.map((row) => [row.lease, row.leftMs]))
  return wanted.map(({ lease }) => leftMs.get(lease))
}
