import { nowUs } from '../machine/clock.js'
import { Conductor, type Command } from './conductor.js'
import { crowding } from './crowding.js'
import type { Player, PlayerConfig } from './player.js'
import { producing } from './producing.js'
import { working } from './working.js'

/** A process of the bench: `main.js <system> prepare|producer|worker|crowd <config as JSON>`. It answers commands over IPC. */
const loaders: Record<string, () => Promise<Player>> = {
  reproq: async () => (await import('./reproq.js')).reproq,
  graphile: async () => (await import('./graphile.js')).graphile,
  'pg-boss': async () => (await import('./pg-boss.js')).pgBoss,
  bullmq: async () => (await import('./bullmq.js')).bullmq,
}

const [system = '', role = '', json = '{}'] = process.argv.slice(2)
const load = loaders[system]
if (!load) throw new Error(`There is no player for "${system}"`)
const player = await load()
const config = JSON.parse(json) as PlayerConfig

if (role === 'prepare') {
  await player.prepare(config)
  process.disconnect()
} else {
  const roles: Record<string, () => Promise<Record<string, Command>> | Record<string, Command>> = {
    producer: () => producing(player, config),
    worker: () => working(player, config),
    crowd: () => crowding(config),
  }
  const commands = await roles[role]?.()
  if (!commands) throw new Error(`There is no role "${role}"`)
  new Conductor(commands).ready(nowUs())
}
