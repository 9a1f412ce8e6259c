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

/**
 * Whether a queue that holds more is slower: the rate at which 8,000 tasks start, out of more and more. That takes a third of a second, so
 * it is done over and over: the worker stops, the backlog is made whole again, the worker starts. The first time is for warm code.
 */
export const growth: Workload = {
  name: 'growth',
  about: 'the rate at which the second to the ninth thousand tasks start, out of a backlog of so many; several times over, the first of which does not count',
  variations: (quick) => Object.keys(BACKLOGS).filter((name) => !quick || !BACKLOGS[name]?.full),
  compared: 'tasks/s',
  peers: ['graphile'],
  async run({ setting, system, variation, quick }) {
    const { ready, future } = BACKLOGS[variation] as { ready: number; future: number }
    const { fillSql } = system
    if (!fillSql) throw new Error(`Nobody said how to fill ${system.name}`)
    await using rig = await Rig.open(setting, system)
    await rig.database.fill(fillSql.future, future)
    await rig.loadWorker()
    let seconds = 0
    const laps = quick ? 2 : 4
    for (let lap = 0; lap <= laps; lap++) {
      await rig.database.fill(fillSql.ready, lap === 0 ? ready : 10_000)
      await rig.database.tidy()
      await rig.worker.ask('forget', { mark: FROM })
      await rig.settle()
      await rig.startWorker()
      const { markedUs, reachedUs } = await rig.ran(TO)
      if (lap > 0) seconds += (reachedUs - markedUs) / 1e6
      await rig.worker.ask('pause')
    }
    return { figures: { 'tasks/s': (laps * (TO - FROM)) / seconds } }
  },
}
