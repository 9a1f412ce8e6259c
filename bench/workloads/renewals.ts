import { setTimeout as delay } from 'node:timers/promises'
import { counting } from '../measure.js'
import { Rig } from '../rig.js'
import { ONE, type Workload } from './workload.js'

const LINKS = 500
const RUNS = 20

/** What it costs to keep long runs alive, when nothing else happens. */
export const renewals: Workload = {
  name: 'renewals',
  about: `${LINKS} bare workers with ${RUNS} long runs each, a heartbeat every 10 s, leases of 60 s; nothing else. Per minute`,
  variations: ONE,
  compared: 'commits/min',
  peers: [],
  async run({ setting, system, quick }) {
    const seconds = quick ? 30 : 120
    await using rig = await Rig.open(setting, system)
    await rig.producer.ask('bulk', { count: LINKS * RUNS })
    const crowd = await rig.openCrowd()
    await crowd.ask('connect', { links: LINKS, window: RUNS, hold: 1 })
    await rig.ran(LINKS * RUNS)
    await rig.settle()
    const cost = await counting(rig.postgres, rig.pids())
    await delay(seconds * 1_000)
    const { commits, walBytes, cpu } = await cost()
    const perMinute = (value: number) => (value * 60) / seconds
    return { figures: { 'commits/min': perMinute(commits), 'WAL KB/min': perMinute(walBytes) / 1_024, 'CPU s/min: postgres': perMinute(cpu.postgres), 'CPU s/min: broker': perMinute(cpu.broker) } }
  },
}
