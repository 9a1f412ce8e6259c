import { readdirSync, readFileSync } from 'node:fs'

/** USER_HZ: what /proc counts in, 100 on every Linux of today. */
const TICKS_PER_SECOND = 100

/** CPU seconds this process has used, threads included. 0 where there is no /proc, and when it is gone. */
export function cpuSeconds(pid: number): number {
  const { user, system } = usage(pid)
  return (user + system) / TICKS_PER_SECOND
}

/** CPU seconds of a postmaster: its own, its backends', and those of the backends it has buried. */
export function serverCpuSeconds(pid: number): number {
  for (;;) {
    const { user, system, buried } = usage(pid)
    const living = childrenOf(pid).reduce((sum, child) => sum + cpuSeconds(child), 0)
    // A backend that was buried meanwhile would be missing from both.
    if (usage(pid).buried === buried) return (user + system + buried) / TICKS_PER_SECOND + living
  }
}

/** CPU seconds of the children of this process that have ended. */
export function endedChildrenCpuSeconds(): number {
  return endedCpuSeconds(process.pid)
}

/** CPU seconds of the children of a process that have ended, and that it has waited for. */
export function endedCpuSeconds(pid: number): number {
  return usage(pid).buried / TICKS_PER_SECOND
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  const [, kilobytes] = /VmRSS:\s+(\d+) kB/.exec(read(`/proc/${pid}/status`)) ?? []
  return Number(kilobytes ?? 0) * 1024
}

function usage(pid: number): { user: number; system: number; buried: number } {
  const fields = statFields(pid)
  const at = (index: number) => Number(fields[index] ?? 0)
  return { user: at(11), system: at(12), buried: at(13) + at(14) }
}

/** Fields of /proc/<pid>/stat from the third on: the second is a name that may contain anything. */
function statFields(pid: number): string[] {
  const text = read(`/proc/${pid}/stat`)
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

function childrenOf(pid: number): number[] {
  return processes().filter((other) => Number(statFields(other)[1]) === pid)
}

function processes(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger)
  } catch {
    return []
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
