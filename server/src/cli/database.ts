import { runningDevDatabase } from './dev-state.js'
import { paint } from './explain.js'
import { failure } from './failure.js'
import { nameOf } from './settings-files.js'
import { configOf } from './settings-options.js'

const NOT_THERE = '3D000'
const WRONG_LOGIN = /^28/
const NO_TABLE = '42P01'

const OF_DEV = 'the reproq dev of this folder'
let isSaid = false

/**
 * The database a command works on: of the flag, then the variables, then the `reproq dev` that runs in this folder, which is said.
 * Throws INVALID_SETTING when none is named, or it is no URL of Postgres.
 */
export function databaseOf(flag?: string): string {
  const url = flag || configOf().databaseUrl || databaseOfDev()
  if (url === '') throw failure('INVALID_SETTING', 'No database: REPROQ_DATABASE_URL, DATABASE_URL and --database-url (or --dsn) are all empty, and no reproq dev runs in this folder', 'set REPROQ_DATABASE_URL=postgres://user:password@host/db, or use reproq dev')
  const protocol = URL.canParse(url) ? new URL(url).protocol : undefined
  if (protocol === 'postgres:' || protocol === 'postgresql:') return url
  throw failure('INVALID_SETTING', `${sourceOf(flag)} is no URL of Postgres`, 'it looks like postgres://user:password@host:5432/db; encode special characters of the password, such as %40 for @')
}

function databaseOfDev(): string {
  const url = runningDevDatabase()
  if (url === undefined) return ''
  if (!isSaid) process.stderr.write(`${paint('yellow', '·')} the database of ${OF_DEV}\n`)
  isSaid = true
  return url
}

/** Does `work`; what the database objects to at the start is said with the setting to correct. */
export async function withDatabase<Result>(flag: string | undefined, work: (url: string) => Promise<Result>): Promise<Result> {
  const url = databaseOf(flag)
  try {
    return await work(url)
  } catch (error) {
    throw explained(error, url, sourceOf(flag))
  }
}

function explained(error: unknown, url: string, source: string): unknown {
  // Errors of the pool carry the driver's as their cause.
  const { cause } = error as { cause?: unknown }
  const { code = '', message = '' } = (cause ?? error) as { code?: string; message?: string }
  const { host, pathname, username } = new URL(url)
  const where = host || 'the local socket'
  if (code === NOT_THERE) return failure('DATABASE_NOT_FOUND', `The database ${JSON.stringify(decodeURIComponent(pathname.slice(1)))} of ${source} does not exist on ${where}`, `create it (createdb), or correct ${source}`)
  if (WRONG_LOGIN.test(code)) return failure('DATABASE_DENIED', `Postgres on ${where} refuses the user ${JSON.stringify(decodeURIComponent(username))} of ${source}: ${message}`, `correct user and password in ${source}`)
  if (code === NO_TABLE) return failure('SCHEMA_BEHIND', `The database of ${source} lacks tables of Reproq: ${message}`, 'reproq migrate')
  if (/^E[A-Z]+$|^EAI_/.test(code)) return failure('DATABASE_UNAVAILABLE', `No Postgres answers at ${where}, as ${source} says (${code})`, `start it, or correct ${source}`)
  return error
}

function sourceOf(flag: string | undefined): string {
  if (!flag && configOf().databaseUrl === '') return OF_DEV
  if (flag) return process.argv.some((word) => /^--?dsn(=|$)/.test(word)) ? '--dsn' : '--database-url'
  return nameOf(process.env.REPROQ_DATABASE_URL ? 'REPROQ_DATABASE_URL' : 'DATABASE_URL')
}
