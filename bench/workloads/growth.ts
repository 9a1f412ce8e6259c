import { Rig } from '../rig.js'
import type { Workload } from './workload.js'

/** What waits in the queue: ready, and scheduled for tomorrow with a higher priority. */
const BACKLOGS: Record<string, { ready: number; future: number; full?: boolean }> = {
  '10 k ready': { ready: 10_000, future: 0 },
  '100 k ready': { ready: 100_000, future: 0 },
  '1 M ready': { ready: 1_000_000, future: 0, full: true },
  '10 k ready, 1 M future ones before them': { ready: 10_000, future: 1_000_000, full: true },
}
const FROM = 1_000
const TO = 9_000

/** Whether a queue that holds more is slower: the rate at which the same 8,000 tasks start, out of more and more. */
export const growth: Workload = {
  name: 'growth',
  about: 'the rate at which the second to the ninth thousand tasks start, out of a backlog of so many',
  variations: (quick) => Object.keys(BACKLOGS).filter((name) => !quick || !BACKLOGS[name]?.full),
  compared: 'tasks/s',
  peers: ['graphile'],
  async run({ setting, system, variation }) {
    const { ready, future } = BACKLOGS[variation] as { ready: number; future: number }
    const { fillSql } = system
    if (!fillSql) throw new Error(`Nobody said how to fill ${system.name}`)
    await using rig = await Rig.open(setting, system)
    await rig.database.fill(fillSql.future, future)
    await rig.database.fill(fillSql.ready, ready)
    await rig.database.tidy()
    await rig.loadWorker()
    await rig.worker.ask('forget', { mark: FROM })
    await rig.settle()
    await rig.startWorker()
    const { markedUs, reachedUs } = await rig.ran(TO)
    return { figures: { 'tasks/s': ((TO - FROM) / (reachedUs - markedUs)) * 1e6 } }
  },
}
