import { bullmq } from './bullmq.js'
import { graphile, graphileDefault } from './graphile.js'
import { pgBoss, pgBossEach } from './pg-boss.js'
import { reproq } from './reproq.js'
import type { System } from './system.js'

export const us: System = reproq

/** By the name that --peers takes. */
export const peers: Record<string, System> = Object.fromEntries([graphile, graphileDefault, pgBoss, pgBossEach, bullmq].map((system) => [system.name, system]))
