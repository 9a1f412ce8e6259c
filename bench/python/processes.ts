import { readdirSync, readFileSync } from 'node:fs'
import { cpuSeconds, endedCpuSeconds } from '../machine/cpu.js'

/** CPU seconds of a process and all below it, those that have ended and were waited for included. */
export function treeCpuSeconds(pid: number): number {
  return cpuSeconds(pid) + endedCpuSeconds(pid) + childrenOf(pid).reduce((sum, child) => sum + treeCpuSeconds(child), 0)
}

/** Memory in MB of each process below this one: what it holds for itself, and its share of what it shares. */
export function childMegabytes(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [proportionalMegabytes(child), ...childMegabytes(child)]).filter((megabytes) => megabytes > 0)
}

function proportionalMegabytes(pid: number): number {
  const [, kilobytes] = /^Pss:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/smaps_rollup`)) ?? []
  return Number(kilobytes ?? 0) / 1_024
}

function childrenOf(pid: number): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).filter((other) => parentOf(other) === pid)
}

function parentOf(pid: number): number | undefined {
  const [, parent] = /^PPid:\s+(\d+)$/m.exec(read(`/proc/${pid}/status`)) ?? []
  return parent === undefined ? undefined : Number(parent)
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
