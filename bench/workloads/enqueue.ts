import { counting } from '../measure.js'
import { rawEnqueue } from '../raw/raw.js'
import { percentile } from '../report/stats.js'
import { Rig } from '../rig.js'
import type { Workload } from './workload.js'

const CLIENTS: Record<string, number> = { 'bulk, 1,000': 0, 'single, 1 client': 1, 'single, 8 clients': 8, 'single, 64 clients': 64 }

/** Only putting in, no worker: each answer means that it is committed. */
export const enqueue: Workload = {
  name: 'enqueue',
  about: 'one producer process, no worker; every answer means committed. Bulk: 1,000 a call, 2 calls on their way. Single: one a call, from so many clients at once',
  variations: () => Object.keys(CLIENTS),
  compared: 'tasks/s',
  peers: 'all',
  async run({ setting, system, variation, quick }) {
    const clients = CLIENTS[variation] as number
    const count = sizeOf(clients, quick)
    await using rig = await Rig.open(setting, system)
    await rig.producer.ask('bulk', { count: 1_000, batch: 500 })
    await rig.settle()
    const cost = await counting(rig.postgres, rig.pids())
    const { startedUs, endedUs, waits } = await rig.producer.ask<{ startedUs: number; endedUs: number; waits?: number[] }>(clients === 0 ? 'bulk' : 'single', { count, clients })
    const figures = { 'tasks/s': (count / (endedUs - startedUs)) * 1e6, ...(waits && { 'p50 ms': percentile(waits, 0.5) / 1_000, 'p99 ms': percentile(waits, 0.99) / 1_000 }) }
    return { figures, tasks: count, cost: await cost() }
  },
  raw({ setting, variation, quick }) {
    const clients = CLIENTS[variation] as number
    return rawEnqueue(setting, sizeOf(clients, quick), clients)
  },
}

function sizeOf(clients: number, quick: boolean): number {
  if (clients === 0) return quick ? 50_000 : 200_000
  return (clients === 1 ? 1_000 : 5_000) * (quick ? 1 : 5)
}
