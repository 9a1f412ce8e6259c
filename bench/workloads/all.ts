import { drain } from './drain.js'
import { latency } from './latency.js'
import { life } from './life.js'
import { raw } from './raw.js'
import type { Workload } from './workload.js'

/** By the name that --only takes, in the order of the report. */
export const workloads: Record<string, Workload> = Object.fromEntries([life, drain, raw, latency].map((workload) => [workload.name, workload]))

export const QUICK_WORKLOADS = ['life', 'drain', 'raw', 'latency']
export const QUICK_PEERS = ['graphile', 'raw']
