import { setTimeout as delay } from 'node:timers/promises'
import { Rig } from '../rig.js'
import { ONE, type Workload } from './workload.js'

/** What a system with one worker asks of the database when there is nothing to do. */
export const idle: Workload = {
  name: 'idle',
  about: 'one worker, no task: transactions per minute in its database, from pg_stat_database, autovacuum included',
  variations: ONE,
  compared: 'transactions/min',
  peers: 'all',
  async run({ setting, system, quick }) {
    const seconds = quick ? 30 : 120
    await using rig = await Rig.open(setting, system)
    await rig.startWorker()
    await rig.warmUp(500)
    // Backends report up to ten seconds late; by then the warm-up is in.
    await delay(12_000)
    const before = await rig.database.transactions()
    await delay(seconds * 1_000)
    return { figures: { 'transactions/min': ((await rig.database.transactions()) - before) * (60 / seconds) } }
  },
}
