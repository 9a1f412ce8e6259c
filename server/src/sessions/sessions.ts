import { createHash, randomBytes } from 'node:crypto'
import type { HeldLease, Status } from '../../../protocol/src/index.js'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'

/** A worker's presence in the database. `conn` numbers its sockets: only the newest one speaks for it. */
export interface Session {
  sessionId: string
  workerId: string
  conn: number
}

export interface Registration {
  workerId: string
  host: string | null
  concurrency: number
  queues: string[]
  version: string
}

const openSql = statement<[string, Buffer, string, number, string | null, number, string, string], { sessionId: string; conn: number }>(import.meta.url, 'open.sql')
const resumeSql = statement<[string, Buffer, string, number, string], { sessionId: string; conn: number }>(import.meta.url, 'resume.sql')
const renewSql = statement<[string[], number[], number], { sessionId: string }>(import.meta.url, 'renew.sql')
const shortenSql = statement<[string, number, number], never>(import.meta.url, 'shorten.sql')
const closeSql = statement<[string, number], never>(import.meta.url, 'close.sql')
const straySql = statement<[string[], number[], string[]], { run: string; lease: string }>(import.meta.url, 'stray.sql')

/** A new session. `key` is its secret: whoever shows it may attach again. */
export async function open(db: Db, worker: Registration, brokerId: string, leaseMs: number): Promise<Session & { key: string }> {
  const key = randomBytes(32).toString('base64url')
  const [row] = await db.query(openSql, [worker.workerId, digest(key), brokerId, leaseMs, worker.host, worker.concurrency, JSON.stringify(worker.queues), worker.version])
  if (!row) throw new Error('open.sql returned no row')
  return { ...row, workerId: worker.workerId, key }
}

/** Attach a new socket to a session. Undefined: it is unknown, over, or not this worker's. */
export async function resume(db: Db, sessionId: string, key: string, workerId: string, brokerId: string, leaseMs: number): Promise<Session | undefined> {
  if (!/^\d{1,18}$/.test(sessionId)) return undefined
  const [row] = await db.query(resumeSql, [sessionId, digest(key), brokerId, leaseMs, workerId])
  return row && { ...row, workerId }
}

/** Heartbeats of many sessions. Returns the ids that were renewed. */
export async function renew(db: Db, sessions: Pick<Session, 'sessionId' | 'conn'>[], leaseMs: number): Promise<Set<string>> {
  const rows = await db.query(renewSql, [sessions.map((session) => session.sessionId), sessions.map((session) => session.conn), leaseMs])
  return new Set(rows.map((row) => row.sessionId))
}

/** Its socket dropped: the session ends in `reconnectMs` unless the worker comes back. */
export async function shorten(db: Db, session: Session, reconnectMs: number): Promise<void> {
  await db.query(shortenSql, [session.sessionId, session.conn, reconnectMs])
}

/** It said goodbye. Its leases must have been released before. */
export async function close(db: Db, session: Session): Promise<void> {
  await db.query(closeSql, [session.sessionId, session.conn])
}

/** Leases these sessions hold in the database, but for those of `known` runs. Nothing of a session that a newer connection speaks for. */
export function stray(db: Db, sessions: Pick<Session, 'sessionId' | 'conn'>[], known: string[]) {
  const inOrder = sessions.toSorted((a, b) => byNumber(a.sessionId, b.sessionId))
  return db.query(straySql, [inOrder.map((session) => session.sessionId), inOrder.map((session) => session.conn), known.toSorted(byNumber)])
}

/** Ids are decimal numbers without leading zeros, and may be larger than a number can say. */
function byNumber(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0)
}

/** The broker's word on a lease a worker says it holds. */
export interface Reconciled {
  run: string
  lease: string
  verdict: 'keep' | 'cancel' | 'finalized' | 'lost'
  queue: string | null
  task: string | null
  attempt: number | null
  maxAttempts: number | null
  retry: string | null
  crashes: number | null
}
const reconcileSql = statement<[string, string[], string[]], Omit<Reconciled, 'verdict'> & { verdict: Reconciled['verdict'] | 'again' }>(import.meta.url, 'reconcile.sql')

/** Which of the leases a worker holds are still good; those come under its session. */
export async function reconcile(db: Db, sessionId: string, held: Pick<HeldLease, 'run' | 'lease'>[]): Promise<Reconciled[]> {
  if (held.length === 0) return []
  const rows = await db.query(reconcileSql, [sessionId, held.map((item) => item.run), held.map((item) => item.lease)])
  const moving = new Set(rows.filter(({ verdict }) => verdict === 'again').map(({ lease }) => lease))
  const sure = rows.flatMap(({ verdict, ...row }) => (verdict === 'again' ? [] : [{ ...row, verdict }]))
  // Whoever was changing those has finished: the next statement sees what he did.
  return [...sure, ...(await reconcile(db, sessionId, held.filter(({ lease }) => moving.has(lease))))]
}

export interface Reaped {
  sessionId: string | null
  workerId: string | null
  run: string | null
  status: Status | null
  queue: string | null
  task: string | null
  attempt: number | null
  keyed: boolean | null
}
const reapSql = statement<[number], Reaped>(import.meta.url, 'reap.sql')

/** Ends expired sessions and settles what they held. A run that lost its worker for the `quarantineCrashes`th time (0: never) is not tried again. */
export function reap(db: Db, quarantineCrashes = 0): Promise<Reaped[]> {
  return db.query(reapSql, [quarantineCrashes])
}

const reclaimSql = statement<[], Reaped>(import.meta.url, 'reclaim.sql')

/** Takes back runs whose lease was somebody else's and has passed, at most a hundred. */
export function reclaim(db: Db): Promise<Reaped[]> {
  return db.query(reclaimSql, [])
}

const nextExpirySql = statement<[], { nextMs: number | null }>(import.meta.url, 'next-expiry.sql')

/** Milliseconds until there is something to reap (0 or less: there is); null when there is no session. */
export async function nextExpiry(db: Db): Promise<number | null> {
  const [row] = await db.query(nextExpirySql, [])
  return row?.nextMs ?? null
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}
