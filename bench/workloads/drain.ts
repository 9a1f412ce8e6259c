import { counting } from '../measure.js'
import { rawDrain } from '../raw/raw.js'
import { Rig } from '../rig.js'
import { ONE, type Workload } from './workload.js'

/**
 * A backlog that is ready before the worker comes. The clock starts when a tenth of it has started: who connects slowly, or has
 * thousands in hand before it begins, is neither punished nor favoured.
 */
export const drain: Workload = {
  name: 'drain',
  about: 'a ready backlog, one worker process; from the start of the tenth part of it to the last durable completion',
  variations: ONE,
  compared: 'tasks/s',
  peers: 'all',
  async run({ setting, system, quick }) {
    const count = (quick ? 20_000 : 100_000) * system.share
    await using rig = await Rig.open(setting, system)
    await rig.producer.ask('bulk', { count })
    await rig.loadWorker()
    const mark = count / 10
    await rig.worker.ask('forget', { mark })
    await rig.settle()
    const cost = await counting(rig.postgres, rig.pids())
    await rig.startWorker()
    const { markedUs, doneUs } = await rig.finished(count)
    const paid = await cost()
    await rig.mustHaveKept(count)
    return { figures: { 'tasks/s': ((count - mark) / (doneUs - markedUs)) * 1e6 }, tasks: count, cost: paid }
  },
  raw: ({ setting, quick }) => rawDrain(setting, quick ? 20_000 : 100_000),
}
