import type { Logger } from 'pino'
import type { Status } from '../../../protocol/src/index.js'
import type { Config } from '../config.js'
import type { Db } from '../db/pool.js'
import type { Ingest } from '../engine/ingest.js'
import type { LogLinks } from '../engine/log-links.js'
import type { Output } from '../engine/output.js'
import type { Progress } from '../engine/progress.js'
import type { Settle } from '../engine/settle.js'
import type { Waiters } from '../engine/waiters.js'
import type { Events } from '../events.js'
import type { LinkContext } from '../link/context.js'
import type { Streams } from './streams.js'
import type { Tokens } from './tokens.js'

/** What the HTTP routes work with. */
export interface HttpContext {
  config: Config
  log: Logger
  db: Db
  /** For what only reads, and may be slow: apart, so that it holds up no heartbeat. */
  reads: Db
  events: Events
  tokens: Tokens
  streams: Streams
  ingest: Ingest
  waiters: Waiters
  settle: Settle
  output: Output
  logLinks: LogLinks
  progress: Progress
  link: LinkContext
  /** Cancels, tells workers, tells waiters. */
  cancel(runs: string[]): Promise<{ run: string; was: Status; status: Status }[]>
  /** There is an operation to work on. */
  operate(): void
  /** Tells a worker to leave, whichever broker it is connected to. */
  retire(worker: string, how: 'drain' | 'stop'): Promise<void>
  ready(): { database: boolean; listening: boolean; draining: boolean; scheduler: 'leads' | 'stands_by' | 'pg_cron' | 'off' }
}
