import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { Db } from '../db/pool.js'
import { statement } from '../db/statement.js'
import { BrokerError } from '../errors.js'

export interface LogLinksOptions {
  /** False: addresses carry no key, and none opens anything. */
  areSigned: boolean
  /** Where this broker is reached, without a slash at its end. */
  baseUrl: () => string
}

const secretSql = statement<[], { secret: Buffer }>(import.meta.url, 'log-links-secret.sql')
const revokeSql = statement<[], never>(import.meta.url, 'log-links-revoke.sql')

/** As long as a token is remembered: that long a link that was revoked opens. */
const REMEMBER_MS = 10_000
/** A key that fits nothing may be newer than the secret we know. Guesses must not ask the database each time. */
const ASK_AGAIN_MS = 1_000
/** Nothing else that is ever signed with this secret begins so. */
const PURPOSE = 'reproq run logs\n'
/** 128 bits. */
const KEY_BYTES = 16

/**
 * Addresses that go into logs_uri. They open in a browser, where nobody can send a token: the key in them is made from the id of
 * the run and a secret of the database, so that it opens this run's output and nothing else, at every broker.
 */
export class LogLinks {
  readonly #db: Db
  readonly #options: LogLinksOptions
  #asked: { secret: Promise<Buffer | undefined>; at: number } | undefined

  /** `db`: whoever guesses at keys waits with those who read, not where results are stored. */
  constructor(db: Db, options: LogLinksOptions) {
    this.#db = db
    this.#options = options
  }

  /** Where the output of these runs is read, and the SHA-256 of the secret that signed it; null: nothing did. */
  async of(runs: string[]): Promise<{ urls: string[]; signedWith: Buffer | null }> {
    const secret = await this.#secret(REMEMBER_MS)
    const base = `${this.#options.baseUrl()}/v1`
    if (!secret) return { urls: runs.map((run) => `${base}/runs/${run}/logs?format=text`), signedWith: null }
    return { urls: runs.map((run) => `${base}/logs/${run}?key=${keyOf(secret, run)}`), signedWith: createHash('sha256').update(secret).digest() }
  }

  /** Throws INVALID_LINK unless the key is that of the run. */
  async check(run: string, key: string): Promise<void> {
    if (!this.#options.areSigned) throw new BrokerError('INVALID_LINK', `This broker opens no links without a token (REPROQ_LOG_LINKS is off)`)
    for (const mostMs of [REMEMBER_MS, ASK_AGAIN_MS]) {
      const secret = await this.#secret(mostMs)
      if (secret && isSame(key, keyOf(secret, run))) return
    }
    throw new BrokerError('INVALID_LINK', `The key of this link does not open the logs of run ${run}`)
  }

  /** The secret may have changed. */
  forget(): void {
    this.#asked = undefined
  }

  async #secret(mostMs: number): Promise<Buffer | undefined> {
    if (!this.#options.areSigned) return undefined
    // The question is what is remembered: all that come while it is on its way share its answer.
    if (!this.#asked || performance.now() - this.#asked.at > mostMs) this.#asked = { secret: this.#ask(), at: performance.now() }
    const asked = this.#asked
    try {
      return await asked.secret
    } catch (error) {
      if (this.#asked === asked) this.forget()
      throw error
    }
  }

  async #ask(): Promise<Buffer | undefined> {
    const [row] = await this.#db.query(secretSql, [])
    return row?.secret
  }
}

/** Every link that was written before is refused, by each broker within ten seconds. */
export async function revokeLogLinks(db: Db): Promise<void> {
  await db.query(revokeSql, [])
}

function keyOf(secret: Buffer, run: string): string {
  return createHmac('sha256', secret).update(`${PURPOSE}${run}`).digest().subarray(0, KEY_BYTES).toString('base64url')
}

function isSame(given: string, expected: string): boolean {
  const [left, right] = [Buffer.from(given), Buffer.from(expected)]
  return left.length === right.length && timingSafeEqual(left, right)
}
