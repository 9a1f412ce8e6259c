import { nowUs } from '../machine/clock.js'
import type { Command } from './conductor.js'
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
    async forget() {
      count.forget()
    },
    async delays() {
      return count.delays
    },
    async stop() {
      await worker?.stop()
    },
  }
}

/** How many tasks were started, when the first one was, and how long after they were due. */
class Count {
  delays: number[] = []
  #total = 0
  #firstUs = 0
  #wanted: { total: number; reached: () => void } | undefined

  ran(dueUs: number): void {
    const now = nowUs()
    if (this.#total++ === 0) this.#firstUs = now
    this.delays.push(now - dueUs)
    if (this.#wanted && this.#total >= this.#wanted.total) this.#wanted.reached()
  }

  forget(): void {
    this.delays = []
    this.#total = 0
    this.#wanted = undefined
  }

  async until(total: number): Promise<{ firstUs: number }> {
    if (this.#total < total) await new Promise<void>((reached) => (this.#wanted = { total, reached }))
    return { firstUs: this.#firstUs }
  }
}
