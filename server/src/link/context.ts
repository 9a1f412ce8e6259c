import type { Logger } from 'pino'
import type { Config } from '../config.js'
import type { Db } from '../db/pool.js'
import type { Dispatch } from '../engine/dispatch.js'
import type { GroupCommit } from '../engine/group-commit.js'
import type { Output } from '../engine/output.js'
import type { Progress } from '../engine/progress.js'
import type { Settle } from '../engine/settle.js'
import type { Events } from '../events.js'
import type { Leased } from '../runs/lease.js'
import type { WantedLimit } from '../runs/run-limit.js'
import type * as sessions from '../sessions/sessions.js'
import type { Entry } from './ledger.js'
import type { Links } from './links.js'

/** What links work with. One object for all links of a broker. */
export interface LinkContext {
  brokerId: string
  config: Config
  db: Db
  events: Events
  log: Logger
  dispatch: Dispatch
  settle: Settle
  output: Output
  progress: Progress
  sessions: typeof sessions
  /** Heartbeats of all links, renewed in one statement. True: renewed; false: the session is over or another connection's. */
  renewals: GroupCommit<sessions.Session, boolean>
  /** Run-time limits that running code asks for: what is left in ms, undefined: the lease is over. */
  limits: GroupCommit<WantedLimit, number | undefined>
  links: Links
  /** Milliseconds, monotonic. */
  now(): number
  /** Ends a leased run that must not reach the worker (cancelled while ready, payload too large). True if it took the run; calls back when done. */
  settleUndeliverable(entry: Entry, run: Leased, done: () => void): boolean
}
