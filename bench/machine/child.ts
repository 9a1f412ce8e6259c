import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Answer, Request } from '../players/conductor.js'
import type { PlayerConfig } from '../players/player.js'

const PATIENCE_MS = 900_000
const MAIN = fileURLToPath(new URL('../players/main.js', import.meta.url))

export interface ChildOptions {
  system: string
  role: 'prepare' | 'producer' | 'worker' | 'crowd'
  config: PlayerConfig
  /** The Node it runs on. */
  node: string
  nodeArgs?: string[]
}

/** A producer or worker process of a cell, and the commands it answers. */
export class Child {
  readonly #name: string
  readonly #process: ChildProcess
  readonly #asked = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  #asks = 0
  #stderr = ''

  private constructor({ system, role, config, node, nodeArgs = [] }: ChildOptions) {
    this.#name = `The ${role} of ${system}`
    this.#process = fork(MAIN, [system, role, JSON.stringify(config)], { execPath: node, execArgv: nodeArgs, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    this.#process.stderr?.on('data', (chunk: Buffer) => (this.#stderr = (this.#stderr + String(chunk)).slice(-4_000)))
    this.#process.on('message', (answer: Answer) => this.#answered(answer))
    this.#process.on('exit', () => this.#failAll(`${this.#name} has ended\n${this.#stderr}`))
  }

  /** Resolves when it has loaded everything and waits for commands. */
  static async open(options: ChildOptions): Promise<Child> {
    const child = new Child(options)
    await new Promise<unknown>((resolve, reject) => child.#asked.set(0, { resolve, reject }))
    return child
  }

  /** One that does its work and ends. */
  static async run(options: ChildOptions): Promise<void> {
    const child = new Child(options)
    const [code] = (await once(child.#process, 'exit')) as [number | null]
    if (code !== 0) throw new Error(`${child.#name} failed\n${child.#stderr}`)
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  /** Rejects with what the command threw, when the process has ended, and when it says nothing for a quarter of an hour. */
  ask<Value>(command: string, options: Record<string, number> = {}): Promise<Value> {
    if (!this.#process.connected) return Promise.reject(new Error(`${this.#name} has ended before "${command}"\n${this.#stderr}`))
    const id = ++this.#asks
    return new Promise<unknown>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${this.#name} has not answered "${command}" ${JSON.stringify(options)}`)), PATIENCE_MS)
      const done = () => clearTimeout(late)
      this.#asked.set(id, { resolve: (value) => (done(), resolve(value)), reject: (error) => (done(), reject(error)) })
      this.#process.send({ id, command, options } satisfies Request)
    }) as Promise<Value>
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const exited = once(this.#process, 'exit')
    const late = setTimeout(() => this.#process.kill('SIGKILL'), 10_000)
    await this.ask('stop').catch(() => {})
    await exited
    clearTimeout(late)
  }

  #answered({ id, value, error }: Answer) {
    const asked = this.#asked.get(id)
    this.#asked.delete(id)
    if (error === undefined) asked?.resolve(value)
    else asked?.reject(new Error(error))
  }

  #failAll(message: string) {
    for (const { reject } of this.#asked.values()) reject(new Error(message))
    this.#asked.clear()
  }
}
