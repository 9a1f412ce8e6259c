import { nowUs } from '../machine/clock.js'
import { Conductor } from './conductor.js'
import type { Player, PlayerConfig } from './player.js'
import { producing } from './producing.js'
import { working } from './working.js'

/** A process of the bench: `main.js <system> prepare|producer|worker <config as JSON>`. It answers commands over IPC. */
const loaders: Record<string, () => Promise<Player>> = {
  reproq: async () => (await import('./reproq.js')).reproq,
  graphile: async () => (await import('./graphile.js')).graphile,
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
  const conductor = new Conductor(role === 'producer' ? await producing(player, config) : working(player, config))
  conductor.ready(nowUs())
}
