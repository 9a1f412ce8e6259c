import { readFileSync } from 'node:fs'

/** Resolves when the process is no more. Nobody announces the death of somebody else's child, so it is looked for. */
export async function isGone(pid: number): Promise<void> {
  while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 10))
}

function isAlive(pid: number): boolean {
  try {
    return process.platform === 'linux' ? !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'latin1')) : process.kill(pid, 0)
  } catch {
    return false
  }
}
