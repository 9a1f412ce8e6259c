import type { EnqueueRequest, RetryPolicy } from '../../protocol/src/rest.js'
import { durationMs, type Duration } from './duration.js'
import { InvalidOption } from './errors.js'
import { checkNames, namesOf } from './known-names.js'

/** A key, or how to make it from the input; `undefined`: this run has none. */
export type KeyOf<Input> = string | ((input: Input) => string | undefined)

/** When a failed attempt is followed by another. What is left out is the broker's setting. */
export interface RetryOptions {
  /** How often a run is tried, the first time included: 1 to 1,000. Default: 3. */
  attempts?: number
  /** `exponential`: each wait is twice the one before. `fixed`: each is `min`. A list: the waits themselves; the last one repeats. Default: exponential. */
  backoff?: 'exponential' | 'fixed' | readonly Duration[]
  /** The first wait. */
  min?: Duration
  /** The longest wait. */
  max?: Duration
  /** Random share by which a wait may grow: 0 to 1. */
  jitter?: number
  /** Classes of errors after which no further attempt is made: `['ZodError', 'ValueError']`. */
  nonRetryable?: readonly string[]
}

/** What runs may ask for beyond being run: a default of their task, or an option of one enqueue, which goes first. */
export interface RunControls<Input = unknown> {
  /** Of all runs with the same key, whatever their task, one runs at a time. */
  lockKey?: KeyOf<Input>
  /** Of all runs with the same key, at most `limit` run at a time. */
  concurrency?: { key: KeyOf<Input>; limit: number }
  /** Of all runs with the same key, at most `limit` start in any `per`; after a pause, `burst` at once (default: `limit`). */
  rate?: { key: KeyOf<Input>; limit: number; per: Duration; burst?: number }
  /** Within a queue, keys take turns: a tenant with many runs does not keep others waiting. */
  fairKey?: KeyOf<Input>
  /** While an equal run (same task, arguments and options) waits or runs, answer with that one. Not with `delay`: each instant makes another run. */
  deduplicate?: boolean
  /** A run that has not started after this long never starts: it ends as CANCELLED. */
  expiresIn?: Duration
}

/** For those who check at run time. */
export const CONTROL_NAMES = { lockKey: true, concurrency: true, rate: true, fairKey: true, deduplicate: true, expiresIn: true } as const satisfies Record<keyof RunControls, true>
const RETRY_NAMES = namesOf<RetryOptions>({ attempts: true, backoff: true, min: true, max: true, jitter: true, nonRetryable: true })
const CONCURRENCY_NAMES = namesOf<NonNullable<RunControls['concurrency']>>({ key: true, limit: true })
const RATE_NAMES = namesOf<NonNullable<RunControls['rate']>>({ key: true, limit: true, per: true, burst: true })

type ControlFields = Pick<EnqueueRequest, 'deduplicate' | 'lock_key' | 'concurrency_key' | 'concurrency_limit' | 'rate' | 'fair_key' | 'expires_in_ms'>

/** Options in the names and units of the wire. Throws InvalidOption and InvalidDuration. */
export function controlFields(options: RunControls, input: unknown): ControlFields {
  const { deduplicate, lockKey, concurrency, rate, fairKey, expiresIn } = options
  if (concurrency) checkNames(concurrency, CONCURRENCY_NAMES, 'concurrency has no option')
  if (rate) checkNames(rate, RATE_NAMES, 'rate has no option')
  const concurrencyKey = keyFor(concurrency?.key, input, 'concurrency.key')
  const rateKey = keyFor(rate?.key, input, 'rate.key')
  return {
    ...(deduplicate !== undefined && { deduplicate }),
    ...withKey('lock_key', keyFor(lockKey, input, 'lockKey')),
    ...(concurrency && concurrencyKey !== undefined && { concurrency_key: concurrencyKey, concurrency_limit: atLeastOne(concurrency.limit, 'concurrency.limit') }),
    ...(rate && rateKey !== undefined && { rate: rateFields(rate, rateKey) }),
    ...withKey('fair_key', keyFor(fairKey, input, 'fairKey')),
    ...(expiresIn !== undefined && { expires_in_ms: someTime(expiresIn, 'expiresIn') }),
  }
}

/**
 * The policy beyond the number of attempts; undefined when there is nothing to it. `where` begins a refusal.
 * Throws InvalidOption and InvalidDuration.
 */
export function retryPolicy(options: RetryOptions, where = ''): RetryPolicy | undefined {
  checkNames(options, RETRY_NAMES, `${where}retry has no option`)
  const { attempts, backoff = 'exponential', min, max, jitter, nonRetryable } = options
  if (attempts !== undefined && !(Number.isInteger(attempts) && attempts >= 1 && attempts <= 1_000)) throw new InvalidOption(`${where}retry.attempts is an integer from 1 to 1000, not ${attempts}`)
  if (jitter !== undefined && !(jitter >= 0 && jitter <= 1)) throw new InvalidOption(`${where}retry.jitter is a share from 0 to 1, not ${jitter}`)
  if (backoff !== 'exponential' && backoff !== 'fixed' && !Array.isArray(backoff)) throw new InvalidOption(`${where}retry.backoff is "exponential", "fixed" or a list of waits, not ${JSON.stringify(backoff)}`, 'such as ["10s", "1m"]')
  if (typeof backoff !== 'string') {
    if (backoff.length === 0) throw new InvalidOption(`${where}retry.backoff is an empty list`, 'give at least one wait, such as ["10s"]')
    if (min !== undefined || max !== undefined) throw new InvalidOption(`${where}retry.backoff is a list of waits, which leaves nothing for min and max to say`, 'give either the list or min and max')
  }
  const policy: RetryPolicy = {
    ...(typeof backoff !== 'string' && { delays_ms: backoff.map(durationMs) }),
    ...(min !== undefined && { base_ms: durationMs(min) }),
    ...(backoff === 'fixed' && { factor: 1 }),
    ...(max !== undefined && { cap_ms: durationMs(max) }),
    ...(jitter !== undefined && { jitter }),
    ...(nonRetryable !== undefined && { non_retryable: [...nonRetryable] }),
  }
  return Object.keys(policy).length === 0 ? undefined : policy
}

function rateFields({ limit, per, burst }: NonNullable<RunControls['rate']>, key: string): EnqueueRequest['rate'] {
  return {
    key,
    limit: atLeastOne(limit, 'rate.limit'),
    per_ms: someTime(per, 'rate.per'),
    ...(burst !== undefined && { burst: atLeastOne(burst, 'rate.burst') }),
  }
}

function keyFor(key: KeyOf<unknown> | undefined, input: unknown, option: string): string | undefined {
  const made = typeof key === 'function' ? key(input) : key
  if (made === undefined || (typeof made === 'string' && made !== '')) return made
  throw new InvalidOption(`${option} is text that is not empty, not ${JSON.stringify(made)}`, 'leave it out (or return undefined) for a run without this key')
}

const withKey = <Name extends string>(name: Name, key: string | undefined) => (key === undefined ? {} : ({ [name]: key } as Record<Name, string>))

/** Milliseconds; no time at all is refused. */
function someTime(duration: Duration, option: string): number {
  const ms = durationMs(duration)
  if (ms === 0) throw new InvalidOption(`${option} is ${JSON.stringify(duration)}, which is no time at all`, 'give a duration such as "1m"')
  return ms
}

function atLeastOne(value: number, option: string): number {
  if (!Number.isInteger(value) || value < 1) throw new InvalidOption(`${option} is a whole number of at least 1, not ${value}`)
  return value
}
