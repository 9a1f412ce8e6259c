import { Rig } from '../rig.js'
import type { Workload } from './workload.js'

const CHUNK = 5_000

/** How fast it still is when somebody elsewhere holds an old snapshot, so that nothing dead can be cleaned up. */
export const snapshot: Workload = {
  name: 'snapshot',
  about: 'whole life, 5,000 tasks after 5,000 tasks, over and over; the rate in the last third of the time. Held: a REPEATABLE READ transaction that has looked once stays open from the beginning',
  variations: () => ['clean', 'held'],
  compared: 'tasks/s at the end',
  peers: ['graphile'],
  async run({ setting, system, variation, quick }) {
    await using rig = await Rig.open(setting, system)
    await rig.startWorker()
    await rig.warmUp(3_000)
    await rig.settle()
    const release = variation === 'held' ? await rig.database.holdSnapshot() : async () => {}
    const rates = await ratesFor(rig, quick ? 20 : 300)
    await release()
    const third = Math.ceil(rates.length / 3)
    return { figures: { 'tasks/s at the end': mean(rates.slice(-third)), 'tasks/s at first': mean(rates.slice(0, third)) } }
  },
}

/** Handlers are counted, not what is durable: to ask the database would itself wade through what is dead. */
async function ratesFor(rig: Rig, seconds: number): Promise<number[]> {
  const rates: number[] = []
  const end = performance.now() + seconds * 1_000
  while (performance.now() < end) {
    await rig.worker.ask('forget')
    const { startedUs } = await rig.producer.ask<{ startedUs: number }>('bulk', { count: CHUNK })
    const { reachedUs } = await rig.ran(CHUNK)
    rates.push((CHUNK / (reachedUs - startedUs)) * 1e6)
  }
  return rates
}

function mean(rates: readonly number[]): number {
  // Of the times, not of the rates: each chunk is as many tasks.
  return rates.length / rates.reduce((sum, rate) => sum + 1 / rate, 0)
}
