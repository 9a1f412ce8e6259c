import pg from 'pg'
import { BrokerError } from '../errors.js'
import type { Statement } from './statement.js'

/** What a transition needs: something that runs a statement. */
export interface Db {
  query<Params extends unknown[], Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]>
}

const JSON_OID = 114
const JSONB_OID = 3802
const asText = (text: string) => text
// Payloads pass through as text: parsing them here would cost time and lose digits (12345678901234567890, 1.0).
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) => (oid === JSON_OID || oid === JSONB_OID ? asText : pg.types.getTypeParser(oid, format as 'text')),
}

/**
 * How our sessions differ from a plain one. The planner settings are safe because every statement here is ours and is meant
 * to walk an index: a queue's tables go from empty to full and back faster than statistics follow, and a plan made from
 * stale ones sorts the whole backlog for one lease.
 */
export const SESSION = [
  // Our statements keep the narrow tables themselves, so the triggers stay out of the way.
  'reproq.internal=on',
  'enable_seqscan=off',
  'enable_bitmapscan=off',
  'enable_hashjoin=off',
  'enable_mergejoin=off',
  'plan_cache_mode=force_generic_plan',
  'jit=off',
  // Whoever waited for a lock must see what its holder wrote, whatever a role or database has for a default.
  'default_transaction_isolation=read\\ committed',
  // Somebody's SELECT … FOR UPDATE on a run must not stand in everybody's way for longer.
  'lock_timeout=500',
  'idle_in_transaction_session_timeout=30000',
]

export interface PoolOptions {
  /** What pg_stat_activity calls its connections. */
  name?: string
  /** Postgres ends a statement after this long. */
  statementMs?: number
  /** Without an answer for this long the connection is taken for dead: longer, so that Postgres has its say first. */
  answerMs?: number
}

/** The broker's connections. Every query error becomes a BrokerError: unreachable (503) or refused. */
export class Pool implements Db {
  readonly #pool: pg.Pool
  #healthySince: number | undefined

  constructor(url: string, size: number, { name = 'reproq broker', statementMs = 30_000, answerMs = statementMs + 5_000 }: PoolOptions = {}) {
    this.#pool = new pg.Pool({
      connectionString: url,
      max: size,
      types,
      application_name: name,
      connectionTimeoutMillis: 5_000,
      // A connection that carries nothing any more would hold its query, and its place here, for as long as TCP tries:
      // a quarter of an hour. The pool throws the connection of a late answer away.
      query_timeout: answerMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      options: [...SESSION, `statement_timeout=${statementMs}`].map((setting) => `-c ${setting}`).join(' '),
    })
    // An idle connection that breaks is replaced at the next query; without a listener it would end the process.
    this.#pool.on('error', () => this.#markDown())
  }

  async query<Params extends unknown[], Row>(statement: Statement<Params, Row>, params: Params): Promise<Row[]> {
    try {
      const { rows } = await this.#pool.query<Row & pg.QueryResultRow>({ name: statement.name, text: statement.text, values: params })
      this.#healthySince ??= performance.now()
      return rows
    } catch (error) {
      if (isUnreachable(error)) this.#markDown()
      throw asBrokerError(error)
    }
  }

  /** Milliseconds for which every query has reached the database; 0 while it is down. */
  get healthyMs(): number {
    return this.#healthySince === undefined ? 0 : performance.now() - this.#healthySince
  }

  /** This process stood still: what it has not seen of the database it cannot vouch for. */
  stoodStill(): void {
    this.#markDown()
  }

  async close(): Promise<void> {
    await this.#pool.end()
  }

  #markDown() {
    this.#healthySince = undefined
  }
}

/** SQLSTATE classes of "try again later": connection, resources, operator intervention. */
const UNREACHABLE_STATES = /^(08|53|57P|25006)/
/** The database is there, and would take the same statement in a moment: deadlock, serialization, lock and statement timeouts. */
const TRY_LATER_STATES = /^(40|55P03|57014)/
const STATE = /^[0-9A-Z]{5}$/

function isUnreachable(error: unknown): boolean {
  const code = (error as { code?: unknown }).code
  if (typeof code === 'string' && STATE.test(code) && !code.startsWith('E')) return UNREACHABLE_STATES.test(code)
  // Errors of the driver and of sockets (ECONNREFUSED, "Connection terminated unexpectedly") carry no SQLSTATE.
  return true
}

function asBrokerError(error: unknown): BrokerError {
  const message = (error as Error).message || String((error as { code?: string }).code)
  if (isUnreachable(error) || TRY_LATER_STATES.test(String((error as { code?: unknown }).code))) return new BrokerError('DATABASE_UNAVAILABLE', `Postgres: ${message}`, { cause: error, retryAfterMs: 1_000 })
  return new BrokerError('DATABASE_REFUSED', `Postgres: ${message}`, { cause: error })
}

/** The SQLSTATE behind an error of Pool.query, if the database answered at all. */
export function sqlState(error: unknown): string | undefined {
  const code = (error as { cause?: { code?: unknown } }).cause?.code
  return typeof code === 'string' && STATE.test(code) ? code : undefined
}
