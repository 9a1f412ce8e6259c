import { counting } from '../measure.js'
import { Rig } from '../rig.js'
import type { Workload } from './workload.js'

const SIZES: Record<string, number> = { '100 B': 100, '1 KB': 1_024, '10 KB': 10_240, '100 KB': 102_400 }
/** Our largest request body is 16 MB. */
const BODY_BYTES = 8_000_000

/** Whole life again, with more to carry. */
export const payload: Workload = {
  name: 'payload',
  about: 'whole life as in `life`, by size of the payload; at most 8 MB a request',
  variations: () => Object.keys(SIZES),
  compared: 'tasks/s',
  peers: ['graphile', 'pg-boss'],
  async run({ setting, system, variation, quick }) {
    const bytes = SIZES[variation] as number
    const batch = Math.min(1_000, Math.floor(BODY_BYTES / bytes))
    const count = Math.min(quick ? 20_000 : 100_000, Math.round((quick ? 100_000_000 : 500_000_000) / bytes))
    await using rig = await Rig.open(setting, system)
    await rig.startWorker()
    await rig.warmUp(1_000)
    await rig.settle()
    const cost = await counting(rig.postgres, rig.pids())
    const { startedUs } = await rig.producer.ask<{ startedUs: number }>('bulk', { count, batch, bytes })
    const { doneUs } = await rig.finished(count)
    const perSecond = (count / (doneUs - startedUs)) * 1e6
    return { figures: { 'tasks/s': perSecond, 'MB/s': (perSecond * bytes) / 1e6 }, tasks: count, cost: await cost() }
  },
}
