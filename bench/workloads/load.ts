import { Rig } from '../rig.js'
import { inMs } from './latency.js'
import type { Workload } from './workload.js'

const SHARES: Record<string, number> = { '50 %': 0.5, '80 %': 0.8 }

/** How soon tasks start while a part of what the system can do is asked of it, in an open loop. */
export const load: Workload = {
  name: 'load',
  about: "a part of each system's own whole-life rate, which is measured first in the same cell; open loop, in bulk every 10 ms; from the moment a task was due to be sent to the start of its handler",
  variations: () => Object.keys(SHARES),
  compared: 'start p50 ms',
  peers: ['graphile', 'pg-boss'],
  async run({ setting, system, variation, quick }) {
    await using rig = await Rig.open(setting, system)
    await rig.startWorker()
    await rig.warmUp(3_000)
    const capacity = await rateOf(rig, quick ? 20_000 : 60_000)
    await rig.worker.ask('forget')
    await rig.settle()
    const perSecond = capacity * (SHARES[variation] as number)
    const { total } = await rig.producer.ask<{ total: number }>('offer', { perSecond, seconds: quick ? 5 : 20 })
    await rig.finished(total)
    return { figures: { 'offered/s': perSecond, ...inMs('start', await rig.worker.ask<number[]>('delays')) } }
  },
}

async function rateOf(rig: Rig, count: number): Promise<number> {
  const { startedUs } = await rig.producer.ask<{ startedUs: number }>('bulk', { count })
  const { doneUs } = await rig.finished(count)
  return (count / (doneUs - startedUs)) * 1e6
}
