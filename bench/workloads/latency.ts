import { Rig } from '../rig.js'
import { percentile } from '../report/stats.js'
import { ONE, type Workload } from './workload.js'

const WARM_UP = 1_000

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
    await rig.producer.ask('paced', { count: WARM_UP, wait: 1 })
    await rig.finished(WARM_UP)
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
