/** How long to wait between attempts; Reproq's rule is base 30 s, doubled, cap 1 h, no jitter. */
export interface RetryPolicy {
  baseMs: number
  /** Each wait is this many times the one before. Default: 2. */
  factor?: number
  capMs: number
  /** Random share by which a wait may grow, 0 to 1. */
  jitter: number
  /** The waits themselves, in place of base, factor and cap; the last one repeats. */
  delaysMs?: readonly number[]
}

/** Longer waits than a policy may name, jitter included, would be no interval to Postgres. */
const LONGEST_MS = 2 * 2_592_000_000

/** Wait after the given failed attempt: base · factor^(attempt−1), at most the cap, or the list's; plus jitter. */
export function backoffMs(attempt: number, { baseMs, factor = 2, capMs, jitter, delaysMs }: RetryPolicy, random: () => number = Math.random): number {
  const wait = delaysMs?.length ? (delaysMs[Math.min(attempt, delaysMs.length) - 1] as number) : Math.min(baseMs * factor ** (attempt - 1), capMs)
  return Math.min(Math.round(wait * (1 + jitter * random())), LONGEST_MS)
}

/** A run's own policy, and the errors it gives up at. */
export interface OwnPolicy {
  waits: RetryPolicy
  nonRetryable: readonly string[]
}

/**
 * The policy of a run: what its `reproq_retry` (JSON text) says, and `otherwise` for the rest. Whoever writes SQL may have put
 * anything there, and no failure may be lost for that: what makes no sense counts as not said.
 */
export function policyOf(own: string | null | undefined, otherwise: RetryPolicy): OwnPolicy {
  if (own === null || own === undefined) return { waits: otherwise, nonRetryable: [] }
  const said = JSON.parse(own) as Record<string, unknown> | null
  const { base_ms, factor, cap_ms, jitter, delays_ms, non_retryable } = said ?? {}
  const waits: RetryPolicy = {
    baseMs: isAmount(base_ms) ? base_ms : otherwise.baseMs,
    factor: isAmount(factor) && factor >= 1 ? factor : 2,
    capMs: isAmount(cap_ms) ? cap_ms : otherwise.capMs,
    jitter: isAmount(jitter) && jitter <= 1 ? jitter : otherwise.jitter,
    delaysMs: Array.isArray(delays_ms) && delays_ms.every(isAmount) ? delays_ms : [],
  }
  return { waits, nonRetryable: Array.isArray(non_retryable) ? non_retryable.filter((name) => typeof name === 'string') : [] }
}

const isAmount = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value >= 0
