import { Rig } from '../rig.js'
import { percentile } from '../report/stats.js'
import { ONE, type Workload } from './workload.js'

/**
 * V8 goes on optimizing what runs for thousands of tasks, in threads that take a core from the main thread for milliseconds: after 1,000
 * tasks our p99 was 6 ms, after 20,000 it was 3.
 */
const WARM_UP = 20_000

/** One task at a time, with a pause between them: how soon it starts, and how soon whoever asked has its result. */
export const latency: Workload = {
  name: 'latency',
  about: 'idle: one task in flight, 15 ms of silence before each; from the enqueue call to the start of the handler, and to the result at the producer',
  variations: ONE,
  compared: 'start p50 ms',
  peers: ['graphile', 'graphile-default'],
  async run({ setting, system, quick }) {
    const count = quick ? 200 : 1_000
    await using rig = await Rig.open(setting, system)
    await rig.startWorker()
    const warmUp = quick ? WARM_UP / 20 : WARM_UP
    await rig.producer.ask('paced', { count: warmUp, wait: 1, everyMs: 0 })
    await rig.finished(warmUp)
    await rig.settle()
    const started = await rig.worker.ask('forget').then(async () => {
      await rig.producer.ask('paced', { count })
      await rig.finished(count)
      return rig.worker.ask<number[]>('delays')
    })
    const { waits } = await rig.producer.ask<{ waits: number[] }>('paced', { count, wait: 1 })
    return { figures: { ...inMs('start', started), ...(waits.length > 0 && inMs('result', waits)) } }
  },
}

export function inMs(name: string, us: readonly number[]): Record<string, number> {
  return { [`${name} p50 ms`]: percentile(us, 0.5) / 1_000, [`${name} p99 ms`]: percentile(us, 0.99) / 1_000 }
}
