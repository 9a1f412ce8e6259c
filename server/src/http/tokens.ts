import { createHash, randomBytes } from 'node:crypto'
import { BrokerError } from '../errors.js'
import type { Db } from '../db/pool.js'
import { plainArray } from '../db/plain-array.js'
import { statement } from '../db/statement.js'

export interface Token {
  name: string
  scopes: string[]
  /** SHA-256 of the secret, in hex. */
  hash: string
}

const findSql = statement<[Buffer], Token>(import.meta.url, 'find-token.sql')
const putSql = statement<[string, Buffer, string[], number | null], never>(import.meta.url, 'put-token.sql')
const liveSql = statement<[string], Token>(import.meta.url, 'live-tokens.sql')
const listSql = statement<[], Omit<Token, 'hash'> & { createdAt: Date; expiresAt: Date | null }>(import.meta.url, 'list-tokens.sql')
const revokeSql = statement<[string], { name: string }>(import.meta.url, 'revoke-token.sql')

const REMEMBER_MS = 10_000
const REMEMBER_MOST = 10_000

/**
 * Bearer tokens: random 256-bit values of which the database keeps only the SHA-256. A lookup compares digests, so its
 * time says nothing about the token. Answers, also "unknown", are remembered for ten seconds: that long a revoked one works.
 */
export class Tokens {
  readonly #db: Db
  readonly #remembered = new Map<string, { token: Token | undefined; until: number }>()

  constructor(db: Db) {
    this.#db = db
  }

  /** The token of an `Authorization: Bearer …` header. Throws UNAUTHORIZED, or DATABASE_UNAVAILABLE. */
  async authenticate(header: string | undefined): Promise<Token> {
    const [, secret] = /^Bearer ([\w.~+/=-]{1,512})$/.exec(header ?? '') ?? []
    if (secret === undefined) throw new BrokerError('UNAUTHORIZED', 'The Authorization header with a bearer token is missing')
    const token = await this.#find(digest(secret))
    if (!token) throw new BrokerError('UNAUTHORIZED', 'The bearer token is unknown or has expired')
    return token
  }

  /** Of these hashes, the ones whose token has ended. Asks the database, in one statement, whatever is remembered. */
  async ended(hashes: ReadonlySet<string>): Promise<Set<string>> {
    if (hashes.size === 0) return new Set()
    const live = new Map((await this.#db.query(liveSql, [plainArray([...hashes])])).map((token) => [token.hash, token]))
    // Also remembered: a worker that comes right back with a revoked token must not be let in once more.
    for (const hash of hashes) this.#remember(hash, live.get(hash))
    return new Set([...hashes].filter((hash) => !live.has(hash)))
  }

  /** Refuses to serve a network without any token. */
  async mustExistBeyondLoopback(host: string): Promise<void> {
    if (isLoopback(host) || (await this.#db.query(listSql, [])).length > 0) return
    throw new BrokerError('PUBLIC_BIND_WITHOUT_TOKENS', `The broker would listen on ${host}, and no token exists`)
  }

  async #find(hash: Buffer): Promise<Token | undefined> {
    const key = hash.toString('hex')
    const known = this.#remembered.get(key)
    if (known && known.until > performance.now()) return known.token
    const [token] = await this.#db.query(findSql, [hash])
    this.#remember(key, token)
    return token
  }

  #remember(key: string, token: Token | undefined) {
    // Forgets the oldest first, so that guesses cannot fill the memory.
    if (this.#remembered.size >= REMEMBER_MOST) this.#remembered.delete(this.#remembered.keys().next().value as string)
    this.#remembered.delete(key)
    this.#remembered.set(key, { token, until: performance.now() + REMEMBER_MS })
  }
}

/** Makes a token and returns its secret, which is nowhere else. One name has one token. */
export async function createToken(db: Db, name: string, scopes: string[], ttlSeconds: number | null = null, secret = `rq_${randomBytes(32).toString('base64url')}`): Promise<string> {
  await db.query(putSql, [name, digest(secret), scopes, ttlSeconds])
  return secret
}

export function listTokens(db: Db) {
  return db.query(listSql, [])
}

/** Whether there was one. */
export async function revokeToken(db: Db, name: string): Promise<boolean> {
  return (await db.query(revokeSql, [name])).length > 0
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

function digest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}
