import { drain } from './drain.js'
import { enqueue } from './enqueue.js'
import { growth } from './growth.js'
import { idle } from './idle.js'
import { latency } from './latency.js'
import { life } from './life.js'
import { load } from './load.js'
import { memory } from './memory.js'
import { payload } from './payload.js'
import { raw } from './raw.js'
import { renewals } from './renewals.js'
import { snapshot } from './snapshot.js'
import { workers } from './workers.js'
import type { Workload } from './workload.js'

const all = [life, drain, raw, enqueue, latency, load, growth, workers, payload, memory, snapshot, renewals, idle]

/** By the name that --only takes, in the order of the report. */
export const workloads: Record<string, Workload> = Object.fromEntries(all.map((workload) => [workload.name, workload]))

export const QUICK_WORKLOADS = ['life', 'drain', 'raw', 'latency']
export const QUICK_PEERS = ['graphile', 'raw']
