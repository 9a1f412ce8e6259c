import { counting } from '../measure.js'
import { Rig } from '../rig.js'
import type { Workload } from './workload.js'

const CROWDS: Record<string, { links: number; window: number }> = {
  '1 worker, window 500': { links: 1, window: 500 },
  '64 workers, window 10': { links: 64, window: 10 },
  '500 workers, window 10': { links: 500, window: 10 },
  '500 workers, window 1': { links: 500, window: 1 },
}

/** Whether many workers cost more than one. The workers are bare sockets, so it is the broker that is measured. */
export const workers: Workload = {
  name: 'workers',
  about: 'a ready backlog, drained by so many bare links in one process; from the start of the tenth part of it to the last durable completion',
  variations: () => Object.keys(CROWDS),
  compared: 'tasks/s',
  peers: [],
  async run({ setting, system, variation, quick }) {
    const count = quick ? 20_000 : 100_000
    const mark = count / 10
    await using rig = await Rig.open(setting, system)
    await rig.producer.ask('bulk', { count })
    const crowd = await rig.openCrowd()
    await crowd.ask('forget', { mark })
    await rig.settle()
    const cost = await counting(rig.postgres, rig.pids())
    await crowd.ask('connect', CROWDS[variation])
    const { markedUs, doneUs } = await rig.finished(count)
    return { figures: { 'tasks/s': ((count - mark) / (doneUs - markedUs)) * 1e6 }, tasks: count, cost: await cost() }
  },
}
