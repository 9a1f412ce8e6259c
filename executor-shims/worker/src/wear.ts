import { readFileSync } from 'node:fs'

/** After how much use a warm process is replaced. 0: never. */
export interface Wear {
  maxRuns: number
  /** Resident memory; known on Linux only. */
  maxRssMb: number
  maxAgeMs: number
}

/** Why a process should be replaced, if it should. */
export function isWorn({ maxRuns, maxRssMb, maxAgeMs }: Wear, used: { runs: number; ageMs: number; pid: number | undefined }): string | undefined {
  if (maxRuns > 0 && used.runs >= maxRuns) return `it has run ${used.runs} times`
  if (maxAgeMs > 0 && used.ageMs >= maxAgeMs) return `it is ${Math.round(used.ageMs)} ms old`
  const rssMb = maxRssMb > 0 && used.pid !== undefined ? residentMb(used.pid) : 0
  return rssMb > maxRssMb ? `it uses ${Math.round(rssMb)} MiB of memory` : undefined
}

function residentMb(pid: number): number {
  try {
    const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? []
    return Number(kib ?? 0) / 1024
  } catch {
    // It ended just now, or this is no Linux.
    return 0
  }
}
