import type { Command } from './conductor.js'
import { Count } from './count.js'
import type { Player, PlayerConfig, PlayingWorker } from './player.js'

/** The commands of a worker process. Its handlers do nothing but count. */
export function working(player: Player, config: PlayerConfig): Record<string, Command> {
  const count = new Count()
  let worker: PlayingWorker | undefined
  return {
    async start() {
      worker = await player.startWorker(config, (payload) => count.ran(payload.at))
    },
    ran: ({ count: total = 0 }) => count.until(total),
    async forget({ mark = 1 }) {
      count.forget(mark)
    },
    async delays() {
      return count.delays
    },
    /** Takes no more work until it is started again; the process stays. */
    async pause() {
      await worker?.stop()
      worker = undefined
    },
    async stop() {
      await worker?.stop()
    },
  }
}
