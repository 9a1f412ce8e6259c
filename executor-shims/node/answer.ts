import type { Settlement } from '../worker/src/executor.js'

/** The members of an envelope, without the brackets around them. The output is JSON text already. */
export function envelopeMembers({ outcome, output, error, retryable, retryAfterMs }: Settlement): string {
  if (outcome === 'ok') return `"ok":true${output === undefined ? '' : `,"return":${output}`}`
  const envelope = {
    ok: false,
    exception_class: error?.class,
    message: error?.message,
    traceback: error?.traceback,
    retryable,
    retry_after_ms: retryAfterMs,
  }
  return JSON.stringify(envelope).slice(1, -1)
}
