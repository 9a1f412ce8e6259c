/** How long anything may take before it counts as never. */
let patienceMs = 10_000

export function setPatience(ms: number): void {
  patienceMs = ms
}

/** Rejects with `otherwise` when it takes too long. */
export function within<T>(promise: Promise<T>, otherwise: string, ms = patienceMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${otherwise} within ${ms} ms`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
