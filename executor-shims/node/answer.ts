import type { Settlement } from '../worker/src/executor.js'
import type { Progress } from '../worker/src/progress.js'

/** The members of an envelope, without the brackets around them. The output is JSON text already. */
export function envelopeMembers({ outcome, output, error, retryable, retryAfterMs, holdQueue }: Settlement): string {
  if (outcome === 'ok') return `"ok":true${output === undefined ? '' : `,"return":${output}`}`
  const envelope = {
    ok: false,
    exception_class: error?.class,
    message: error?.message,
    traceback: error?.traceback,
    ...(outcome === 'postponed' ? { postpone_ms: retryAfterMs, hold_queue: holdQueue } : { retryable, retry_after_ms: retryAfterMs }),
  }
  return JSON.stringify(envelope).slice(1, -1)
}

/** A line about how far a run is; what it prints goes its own way. `data` and `checkpoint` are JSON text already. */
export function progressMessage({ pct, note, data, checkpoint }: Progress, id?: string): string {
  const head = JSON.stringify({ t: 'progress', id, pct, note }).slice(0, -1)
  return `${head}${data === undefined ? '' : `,"data":${data}`}${checkpoint === undefined ? '' : `,"checkpoint":${checkpoint}`}}`
}
