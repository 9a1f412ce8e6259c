import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import type { Settled } from './finalize.js'

/** A lease given back unfinished; the run is ready again after `delayMs`. */
export interface Release {
  run: string
  lease: string
  delayMs: number
  /** Nothing of its queue is started until then either. */
  holdsQueue?: boolean
}

const releaseSql = statement<[string[], string[], number[], boolean[]], Settled>(import.meta.url, 'release.sql')

/** RUNNING → READY without costing an attempt. Returns the runs whose lease still held. */
export function release(db: Db, items: Release[]): Promise<Settled[]> {
  return db.query(releaseSql, [items.map((item) => item.run), items.map((item) => item.lease), items.map((item) => item.delayMs), items.map((item) => item.holdsQueue ?? false)])
}
