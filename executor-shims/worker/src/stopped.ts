import { Stop, type Assignment, type Settlement, type StopReason } from './executor.js'
import type { StopSignal } from './stop-signal.js'

/** Why the signal of a run was aborted. */
export const stopOf = ({ reason }: Pick<StopSignal, 'reason'>): Stop => (reason instanceof Stop ? reason : new Stop('cancelled'))

/**
 * How an attempt that was told to stop is reported. A success that made it out before the kill stays a success; whatever
 * else it said, it says so because it was stopped.
 */
export function settleStopped(stop: Stop, assignment: Pick<Assignment, 'timeout_ms'>, settlement?: Settlement): Settlement {
  if (settlement?.outcome === 'ok') return settlement
  const traceback = settlement?.error?.traceback
  return {
    outcome: stop.reason === 'timeout' ? 'timeout' : 'cancelled',
    error: {
      class: stop.reason === 'timeout' ? 'Timeout' : 'Cancelled',
      message: MESSAGES[stop.reason](assignment.timeout_ms, stop.grantedMs),
      ...(traceback !== undefined && { traceback }),
    },
    ...(settlement?.exit && { exit: settlement.exit }),
  }
}

const MESSAGES: Record<StopReason, (timeoutMs: number, grantedMs?: number) => string> = {
  timeout: (timeoutMs, grantedMs) =>
    grantedMs === undefined ? `The run took longer than its timeout of ${timeoutMs} ms and was stopped` : `The run took longer than the ${grantedMs} ms it was last given by extend, and was stopped`,
  cancelled: () => 'The run was cancelled',
  shutdown: () => 'The worker shut down before the run had ended',
  lost_lease: () => 'The worker lost its lease of the run, which may be running elsewhere by now',
}
