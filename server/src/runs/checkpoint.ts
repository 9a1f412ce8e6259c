import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** What a running attempt leaves for the next one: JSON text. */
export interface Checkpoint {
  run: string
  lease: string
  data: string
}

const checkpointSql = statement<[string[], string[], string[]], { lease: string }>(import.meta.url, 'checkpoint.sql')

/** Keeps the last checkpoint of each lease that still holds its run. Says of each whether it does. */
export async function checkpoint(db: Db, checkpoints: Checkpoint[]): Promise<boolean[]> {
  const last = [...new Map(checkpoints.map((one) => [one.lease, one])).values()]
  const rows = await db.query(checkpointSql, [last.map(({ run }) => run), last.map(({ lease }) => lease), last.map(({ data }) => data)])
  const held = new Set(rows.map(({ lease }) => lease))
  return checkpoints.map(({ lease }) => held.has(lease))
}
