import { setTimeout as delay } from 'node:timers/promises'
import { residentBytes } from '../machine/cpu.js'
import { Rig } from '../rig.js'
import type { Workload } from './workload.js'
import { ONE } from './workload.js'

/** A broker's first links also pay for code and buffers that it has once. */
const FIRST = 200

/** What a worker that does nothing costs the broker. */
export const memory: Workload = {
  name: 'memory',
  about: `resident memory of the broker per idle worker: the slope from ${FIRST} links on. Its garbage is not collected on demand, so it is an upper bound`,
  variations: ONE,
  compared: 'KB per worker',
  peers: [],
  async run({ setting, system, quick }) {
    const links = quick ? 1_000 : 3_000
    await using rig = await Rig.open(setting, system)
    const crowd = await rig.openCrowd()
    await crowd.ask('connect', { links: FIRST })
    const few = await settledBytes(rig.pids().broker, quick)
    await crowd.ask('connect', { links })
    const many = await settledBytes(rig.pids().broker, quick)
    return { figures: { 'KB per worker': (many - few) / (links - FIRST) / 1_024, 'MB with all of them': many / 1_048_576 } }
  },
}

/** The least of a few looks over some heartbeats. */
async function settledBytes(pid: number, quick: boolean): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let look = 0; look < (quick ? 6 : 30); look++) {
    await delay(1_000)
    least = Math.min(least, residentBytes(pid))
  }
  return least
}
