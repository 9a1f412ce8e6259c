import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Run } from '../../protocol/src/index.js'
import { remoteTask, type Reproq, type RunHandle } from '../../sdk-ts/src/index.js'

/** Ways in which Python code can end, and how its run is then told. */
const FAULTS: readonly [task: string, args: unknown[], end: string, timeoutMs?: number][] = [
  ['kill_itself', [9], 'crashed'],
  ['exit_silently', [3], 'crashed'],
  ['fail', [], 'app_error'],
  ['grandchild_holding_stdout', [], 'SUCCESSFUL'],
  ['big_output', [2_000_000], 'app_error'],
  ['flood', [1, 2_000_000], 'SUCCESSFUL'],
  ['child_then_wait', [], 'timeout', 1_000],
  ['crash_in_teardown', [], 'SUCCESSFUL'],
]
const BATCH = 500

export interface Soak {
  reproq: Reproq
  queue: string
  total: number
  /** Every so many runs one goes wrong. */
  every: number
  timeoutMs: number
}

/** Runs `total` tasks of fault_tasks.py, faults among them. Returns what did not end as it should. */
export async function soak({ reproq, queue, total, every, timeoutMs }: Soak): Promise<string[]> {
  const surprises: string[] = []
  for (let from = 0; from < total; from += BATCH) {
    const plans = Array.from({ length: Math.min(BATCH, total - from) }, (_, at) => planOf(from + at, every))
    const handles = await Promise.all(plans.map(({ task, args, limitMs }) => reproq.enqueue(remoteTask<{ args: unknown[] }, unknown>(`fault_tasks.${task}`), { args }, { queue, maxAttempts: 1, timeout: limitMs })))
    for (const [at, { task, end }] of plans.entries()) {
      const run = await final(handles[at] as RunHandle, timeoutMs)
      const told = run.status === 'SUCCESSFUL' ? run.status : run.errors.at(-1)?.kind
      if (told !== end) surprises.push(`${task}: ${told} instead of ${end}, ${run.last_error}`)
    }
  }
  return surprises
}

function planOf(at: number, every: number) {
  if (at % every !== 0) return { task: 'add', args: [at, 1], end: 'SUCCESSFUL', limitMs: 60_000 }
  const [task, args, end, limitMs = 60_000] = FAULTS[(at / every) % FAULTS.length] as (typeof FAULTS)[number]
  return { task, args, end, limitMs }
}

function final(handle: RunHandle, timeoutMs: number): Promise<Run> {
  return handle.settled({ timeout: timeoutMs }).then(({ run }) => run)
}

/** Open files of a process that has nothing to do: the least of some looks, for what was closed a moment ago may still be there. */
export async function openFilesOf(pid: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let look = 0; look < 10; look++) {
    least = Math.min(least, readdirSync(`/proc/${pid}/fd`).length)
    await sleep(100)
  }
  return least
}

/** Processes whose environment holds the mark: a worker, and all that it or its executors started. */
export function marked(mark: string): number[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name) && environmentOf(name).includes(mark)).map(Number)
}

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1')
  } catch {
    return '' // It has ended, or is not ours to look at.
  }
}
