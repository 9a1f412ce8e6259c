const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2_000

/** How long to wait before asking again: what the server asked for (seconds), or longer with every failure, never all clients at once. */
export function pauseMs(failures: number, retryAfter?: string): number {
  const asked = Number(retryAfter) * 1_000
  if (retryAfter !== undefined && asked >= 0) return asked
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS)
  return longest / 2 + (Math.random() * longest) / 2
}

/** Waits. Throws the signal's reason when it aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const stop = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, ms)
    signal?.addEventListener('abort', stop, { once: true })
  })
}

/** A signal for one attempt: it aborts with the caller's signal, or when `limitMs` have passed since the last restart. */
export function attemptSignal(limitMs: number, outer?: AbortSignal) {
  const controller = new AbortController()
  const tooLong = () => controller.abort(new Error(`no answer within ${Math.round(limitMs)} ms`))
  const follow = () => controller.abort(outer?.reason)
  let timer = setTimeout(tooLong, limitMs)
  if (outer?.aborted) follow()
  outer?.addEventListener('abort', follow, { once: true })
  const release = () => {
    clearTimeout(timer)
    outer?.removeEventListener('abort', follow)
  }
  return {
    signal: controller.signal,
    /** The time starts again. */
    restart: () => {
      clearTimeout(timer)
      timer = setTimeout(tooLong, limitMs)
    },
    /** Forgets the timer and the caller's signal. */
    release,
  }
}
