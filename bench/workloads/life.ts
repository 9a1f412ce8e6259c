import { counting } from '../measure.js'
import { rawLife } from '../raw/raw.js'
import { Rig } from '../rig.js'
import { ONE, type Workload } from './workload.js'

const WARM_UP = 3_000

/** Enqueue in bulk while one worker drains, as fast as both can. From the first enqueue to the last durable completion. */
export const life: Workload = {
  name: 'life',
  about: 'whole life sustained: bulk enqueue (1,000 at a time, 2 on their way) while one worker drains; from the first enqueue to the last durable completion',
  variations: ONE,
  compared: 'tasks/s',
  peers: 'all',
  async run({ setting, system, quick }) {
    const count = Math.round((quick ? 40_000 : 200_000) * system.share)
    await using rig = await Rig.open(setting, system)
    await rig.startWorker()
    await rig.warmUp(WARM_UP)
    await rig.settle()
    const cost = await counting(rig.postgres, rig.pids())
    const { startedUs, endedUs } = await rig.producer.ask<{ startedUs: number; endedUs: number }>('bulk', { count })
    const { doneUs } = await rig.finished(count)
    const paid = await cost()
    await rig.mustHaveKept(WARM_UP + count)
    return { figures: { 'tasks/s': (count / (doneUs - startedUs)) * 1e6, 'enqueued/s': (count / (endedUs - startedUs)) * 1e6 }, tasks: count, cost: paid }
  },
  raw: ({ setting, quick }) => rawLife(setting, quick ? 40_000 : 200_000),
}
