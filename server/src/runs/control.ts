import { storageFault, type EnqueueRequest, type RetryPolicy } from '../../../protocol/src/index.js'
import { BrokerError } from '../errors.js'

/** What a run asks for beyond being run. Stored by enqueue-controlled.sql, which reads these names. */
export interface Control {
  /** While an equal run waits or runs, this one is not made. */
  deduplicate: boolean
  lockKey: string | null
  concurrencyKey: string | null
  /** 0 without a key. */
  concurrencyLimit: number
  rateKey: string | null
  /** The bucket of the rate key: what flows in, and how much it holds. */
  ratePerSecond: number | null
  rateBurst: number | null
  fairKey: string | null
  /** Milliseconds since the epoch. */
  expiresAtMs: number | null
  /** From now, by the database's clock. */
  expiresInMs: number | null
  retry: RetryPolicy | null
}

/** Null for a request that asks for nothing of this. Throws INVALID_REQUEST or INVALID_PAYLOAD; `where` names the request. */
export function controlOf(request: EnqueueRequest, where: string): Control | null {
  const { deduplicate = false, lock_key, concurrency_key, concurrency_limit, rate, fair_key, expires_at, expires_in_ms, retry } = request
  const asked = [lock_key, concurrency_key, concurrency_limit, rate, fair_key, expires_at, expires_in_ms, retry]
  if (!deduplicate && asked.every((field) => field === undefined)) return null
  if (deduplicate) checkDeduplicate(request, where)
  if ((concurrency_key === undefined) !== (concurrency_limit === undefined)) {
    const [there, missing] = concurrency_key === undefined ? ['concurrency_limit', 'concurrency_key'] : ['concurrency_key', 'concurrency_limit']
    throw new BrokerError('INVALID_REQUEST', `${where} has a ${there} and no ${missing}; they go together`)
  }
  if (expires_at !== undefined && expires_in_ms !== undefined) {
    throw new BrokerError('INVALID_REQUEST', `${where} has both expires_at and expires_in_ms; give one`)
  }
  const control = {
    deduplicate,
    lockKey: lock_key ?? null,
    concurrencyKey: concurrency_key ?? null,
    concurrencyLimit: concurrency_limit ?? 0,
    rateKey: rate?.key ?? null,
    ratePerSecond: rate ? (rate.limit / rate.per_ms) * 1_000 : null,
    rateBurst: rate ? (rate.burst ?? rate.limit) : null,
    fairKey: fair_key ?? null,
    expiresAtMs: expires_at === undefined ? null : instantMs(expires_at, 'expires_at', where),
    expiresInMs: expires_in_ms ?? null,
    retry: retry ?? null,
  }
  const fault = storageFault(JSON.stringify(control), Number.POSITIVE_INFINITY)
  if (fault) throw new BrokerError('INVALID_PAYLOAD', `${where} has a key that cannot be stored: ${fault.code}`)
  return control
}

function checkDeduplicate({ idempotency_key, delay_ms }: EnqueueRequest, where: string): void {
  if (idempotency_key !== undefined) throw new BrokerError('INVALID_REQUEST', `${where} has both deduplicate and an idempotency_key; give one: the key means one run for ever, deduplicate one at a time`)
  if (delay_ms) throw new BrokerError('INVALID_REQUEST', `${where} has both deduplicate and delay_ms, which makes each run another one; give the instant as run_after`)
}

/** What both JavaScript and Postgres print with four digits of a year: 0001 to 9999. */
const FIRST_MS = Date.parse('0001-01-01T00:00:00Z')
const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z')

/** Milliseconds since the epoch. The format allows what there is no moment for: the 60th second of a minute, the year 0. */
export function instantMs(text: string, field: string, where: string): number {
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) throw new BrokerError('INVALID_REQUEST', `${where} has the ${field} "${text}", which is no moment in time`)
  if (ms < FIRST_MS || ms > LAST_MS) throw new BrokerError('INVALID_REQUEST', `${where} has the ${field} "${text}", which is not within the years 0001 to 9999 (UTC)`)
  return ms
}
