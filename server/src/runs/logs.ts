import type { LogStream } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** A piece of what an attempt printed. `dropped`: bytes before it that nobody has. */
export interface Piece {
  run: string
  attempt: number
  stream: LogStream
  seq: number
  dropped: number
  text: string
}

/** A piece as it is kept. `id` orders the pieces of a run. */
export interface StoredPiece extends Omit<Piece, 'run'> {
  id: string
  loggedAt: Date
}

export interface LogFilter {
  /** Only pieces behind this one. */
  after: string
  attempt?: number | undefined
  stream?: LogStream | undefined
  limit: number
}

/** Which runs say now where their output is: those whose row was free for it; none when `isStale`, the secret has changed. */
interface Labelled {
  labelled: string[]
  isStale: boolean
}

const appendSql = statement<[string[], number[], string[], number[], number[], string[]], { run: string }>(import.meta.url, 'log-append.sql')
const readSql = statement<[string, string, number | null, string | null, number], StoredPiece>(import.meta.url, 'log-read.sql')
const labelSql = statement<[string[], string[], Buffer | null], Labelled>(import.meta.url, 'log-label.sql')

/** Keeps pieces, in their order, of runs that are still there. Returns the runs that have more now. */
export async function append(db: Db, pieces: Piece[]): Promise<string[]> {
  const rows = await db.query(appendSql, [
    pieces.map((piece) => piece.run),
    pieces.map((piece) => piece.attempt),
    pieces.map((piece) => piece.stream),
    pieces.map((piece) => piece.seq),
    pieces.map((piece) => piece.dropped),
    pieces.map((piece) => piece.text),
  ])
  return rows.map(({ run }) => run)
}

/** Oldest first. */
export function read(db: Db, run: string, { after, attempt, stream, limit }: LogFilter): Promise<StoredPiece[]> {
  return db.query(readSql, [run, after, attempt ?? null, stream ?? null, limit])
}

/** Writes `urls`, one for each run, into logs_uri, if `signedWith` is still the digest of the secret. */
export async function label(db: Db, runs: string[], urls: string[], signedWith: Buffer | null): Promise<Labelled> {
  const [row] = await db.query(labelSql, [runs, urls, signedWith])
  return row as Labelled
}
