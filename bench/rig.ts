import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { nowUs } from './machine/clock.js'
import { BrokerProcess } from './machine/broker.js'
import { Child, type ChildOptions } from './machine/child.js'
import { peerNode } from './machine/peers.js'
import type { Database, Postgres } from './machine/postgres.js'
import type { PlayerConfig } from './players/player.js'
import type { System, Variant } from './systems/system.js'

export interface Setting {
  postgres: Postgres
  cache: string
  settleMs: number
  /** Folder for CPU profiles of our processes; undefined: none. */
  profile: string | undefined
}

/** One cell: a fresh database and the processes of one system on it. `await using rig = await Rig.open(…)`. */
export class Rig {
  readonly system: System
  readonly database: Database
  readonly broker: BrokerProcess | undefined
  readonly #setting: Setting
  readonly #config: PlayerConfig
  #producer: Child | undefined
  #worker: Child | undefined

  private constructor(setting: Setting, system: System, database: Database, broker: BrokerProcess | undefined, config: PlayerConfig) {
    this.#setting = setting
    this.system = system
    this.database = database
    this.broker = broker
    this.#config = config
  }

  static async open(setting: Setting, system: System, variant: Variant = system.variants[0] as Variant): Promise<Rig> {
    const database = await setting.postgres.freshDatabase()
    const broker = system.hasBroker ? await BrokerProcess.start(database.url, profiling(setting, 'broker')) : undefined
    const config: PlayerConfig = { databaseUrl: database.url, cache: setting.cache, settings: variant.settings, ...(broker && { broker: { url: broker.url, token: broker.token } }) }
    const rig = new Rig(setting, system, database, broker, config)
    try {
      // Our broker has made its tables itself.
      if (!broker) await Child.run(rig.#child('prepare'))
      rig.#producer = await Child.open(rig.#child('producer'))
      return rig
    } catch (error) {
      await rig[Symbol.asyncDispose]()
      throw error
    }
  }

  get postgres(): Postgres {
    return this.#setting.postgres
  }

  get producer(): Child {
    return this.#producer as Child
  }

  get worker(): Child {
    if (!this.#worker) throw new Error('The worker was not loaded')
    return this.#worker
  }

  /** Process ids by role, for CPU and memory. */
  pids(): { broker: number; worker: number; producer: number } {
    return { broker: this.broker?.pid ?? 0, worker: this.#worker?.pid ?? 0, producer: this.#producer?.pid ?? 0 }
  }

  /** A worker process with everything loaded, which does not take work yet: start-up is part of nobody's time. */
  async loadWorker(): Promise<void> {
    this.#worker = await Child.open(this.#child('worker'))
  }

  async startWorker(): Promise<void> {
    if (!this.#worker) await this.loadWorker()
    await this.worker.ask('start')
  }

  /** In place of the worker: a process with many bare links to our broker. */
  async openCrowd(): Promise<Child> {
    this.#worker = await Child.open(this.#child('crowd'))
    return this.#worker
  }

  /** Runs tasks through everything, so that code is compiled and connections are there; then forgets them. */
  async warmUp(count: number): Promise<void> {
    await this.producer.ask('bulk', { count, batch: 500, inFlight: 1 })
    await this.finished(count)
    await this.worker.ask('forget')
  }

  settle(): Promise<void> {
    return this.#setting.postgres.settle(this.#setting.settleMs)
  }

  /** Resolves when `count` handlers have started. */
  ran(count: number): Promise<{ markedUs: number; reachedUs: number }> {
    return this.worker.ask('ran', { count })
  }

  /**
   * Resolves when `count` handlers have run and the database says that nothing is left. The time is when the question was
   * asked to which that was the answer: by then it was committed.
   */
  async finished(count: number): Promise<{ markedUs: number; doneUs: number }> {
    const { markedUs } = await this.ran(count)
    for (;;) {
      const doneUs = nowUs()
      if (!(await this.database.value(this.system.unfinishedSql))) return { markedUs, doneUs }
      await delay(5)
    }
  }

  /** Nothing got lost on the way. */
  async mustHaveKept(count: number): Promise<void> {
    if (!this.system.keptSql) return
    const kept = Number(await this.database.value(this.system.keptSql))
    if (kept !== count) throw new Error(`${this.system.name} has kept ${kept} results of ${count}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker?.stop()
    await this.#producer?.stop()
    await this.broker?.stop()
    await this.database.drop()
  }

  #child(role: ChildOptions['role']): ChildOptions {
    const { player, package: isPeer } = this.system
    const runtime = isPeer ? { node: peerNode(this.#setting.cache) } : { node: process.execPath, nodeArgs: profiling(this.#setting, role) }
    return { system: player, role, config: this.#config, ...runtime }
  }
}

/** Arguments for Node. One folder a role: the files are named by process id. */
function profiling({ profile }: Setting, role: string): string[] {
  return profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${join(profile, role)}`]
}
