import { canonicalJson } from './canonical-json.js'

/** What Reproq's spec says of a run beside its arguments. */
export interface SpecFields {
  task: string
  queue: string
  priority: number
  lockKey: string | null
  concurrencyKey: string | null
  /** 0 without a key. */
  concurrencyLimit: number
  /** Milliseconds since the epoch, or null for at once. */
  runAfterMs: number | null
  timeoutSeconds: number
  maxAttempts: number
}

/** The text around the arguments, as it is stored and as it is hashed. */
export interface SpecShape {
  head: string
  tail: string
  canonicalMiddle: string
  canonicalTail: string
}

/** Reproq's spec_json is `head + args + ',"kwargs":' + kwargs + tail`. */
export function specShape({ priority, concurrencyLimit: limit, timeoutSeconds, maxAttempts, runAfterMs, ...fields }: SpecFields): SpecShape {
  const task = JSON.stringify(fields.task)
  const queue = JSON.stringify(fields.queue)
  const lock = JSON.stringify(fields.lockKey)
  const concurrency = JSON.stringify(fields.concurrencyKey)
  const runAfter = runAfterMs === null ? 'null' : `"${isoformat(runAfterMs)}"`
  return {
    head: `{"v":1,"task_path":${task},"args":`,
    tail:
      `,"takes_context":false,"queue_name":${queue},"priority":${priority},"lock_key":${lock},"concurrency_key":${concurrency},"concurrency_limit":${limit},` +
      `"run_after":${runAfter},"exec":{"timeout_seconds":${timeoutSeconds},"max_attempts":${maxAttempts}},"provenance":{"code_ref":null,"pip_lock_hash":null}}`,
    canonicalMiddle: `,"concurrency_key":${concurrency},"concurrency_limit":${limit},"exec":{"max_attempts":${maxAttempts},"timeout_seconds":${timeoutSeconds}},"kwargs":`,
    canonicalTail:
      `,"lock_key":${lock},"priority":${priority},"provenance":{"code_ref":null,"pip_lock_hash":null},"queue_name":${queue},` +
      `"run_after":${runAfter},"takes_context":false,"task_path":${task},"v":1}`,
  }
}

/**
 * The canonical form of a spec, whose SHA-256 is the run's hash, put together in key order: only the arguments have to be
 * read for it. They are JSON text; a lone surrogate in them throws.
 */
export function canonicalSpec({ canonicalMiddle, canonicalTail }: SpecShape, args: string, kwargs: string): string {
  return `{"args":${canonicalJson(args)}${canonicalMiddle}${canonicalJson(kwargs)}${canonicalTail}`
}

/** An instant as Python's datetime.isoformat() writes it, which is what a Django twin hashes: no fraction, or six digits. */
function isoformat(ms: number): string {
  const [seconds, fraction] = new Date(ms).toISOString().slice(0, -1).split('.') as [string, string]
  return `${seconds}${fraction === '000' ? '' : `.${fraction}000`}+00:00`
}
