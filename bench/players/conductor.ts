import { setTimeout as delay } from 'node:timers/promises'

export type Command = (options: Record<string, number>) => Promise<unknown>
export interface Request {
  id: number
  command: string
  options: Record<string, number>
}
export type Answer = { id: number; value?: unknown; error?: string }

/** Answers the bench's commands in a child process. Ends with the bench. */
export class Conductor {
  readonly #commands: Record<string, Command>

  constructor(commands: Record<string, Command>) {
    this.#commands = commands
    process.on('message', (request: Request) => void this.#answer(request))
    process.once('disconnect', () => process.exit(0))
    process.on('SIGINT', () => {})
  }

  ready(at: number): void {
    process.send?.({ id: 0, value: at } satisfies Answer)
  }

  async #answer({ id, command, options }: Request) {
    try {
      const run = this.#commands[command]
      if (!run) throw new Error(`There is no command "${command}"`)
      process.send?.({ id, value: await run(options) } satisfies Answer)
    } catch (error) {
      process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) } satisfies Answer)
    }
    if (command === 'stop') void delay(50).then(() => process.exit(0))
  }
}
