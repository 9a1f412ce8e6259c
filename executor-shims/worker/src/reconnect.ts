import { reconnectAfter, type Reconnect } from '../../../protocol/src/index.js'

const FIRST_MS = 250
const LONGEST_MS = 10_000

/** Full jitter: anything from nothing to the doubling bound, so that workers who lost one broker do not come back as one. */
export function backoffMs(attempt: number, longestMs = LONGEST_MS, random: () => number = Math.random): number {
  return Math.round(random() * Math.min(FIRST_MS * 2 ** attempt, longestMs))
}

/** The bound while the leases of a dropped link can still be saved: several tries must fit into the time the broker keeps them. */
export function hurriedMs(reconnectMs: number): number {
  return Math.min(Math.max(FIRST_MS, reconnectMs / 8), LONGEST_MS)
}

/** After the WebSocket closed. 1000 is the answer to `bye`; from anyone else (a proxy) it means no more than a lost socket. */
export function afterClose(code: number): Reconnect {
  return code === 1000 ? 'backoff' : reconnectAfter(code)
}

/**
 * After the upgrade was refused. A wrong token or address at the first start is a mistake somebody should see at once;
 * later it may be a rotation or a proxy without a broker behind it, and the work in hand is worth waiting for.
 */
export function afterRefusal(status: number | undefined, everWelcomed: boolean): 'backoff' | 'never' {
  if (status === 403 || status === 426) return 'never'
  const isMistake = status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429
  return isMistake && !everWelcomed ? 'never' : 'backoff'
}

/** Retry-After: seconds, or a date. 0 when there is none or it makes no sense. */
export function retryAfterMs(header: string | undefined, now: number = Date.now()): number {
  if (header === undefined) return 0
  const seconds = Number(header)
  const ms = Number.isFinite(seconds) ? seconds * 1_000 : Date.parse(header) - now
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, 300_000) : 0
}
