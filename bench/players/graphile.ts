import { peer } from './peer.js'
import type { Payload, Player, PlayerConfig } from './player.js'

interface Preset {
  worker: Record<string, unknown>
}
interface Utils {
  addJob(task: string, payload: Payload): Promise<unknown>
  addJobs(jobs: { identifier: string; payload: Payload }[]): Promise<unknown>
  migrate(): Promise<void>
  release(): Promise<void>
}
interface Graphile {
  makeWorkerUtils(options: { connectionString: string; maxPoolSize?: number }): Promise<Utils>
  run(options: { preset: Preset; noHandleSignals: boolean; taskList: Record<string, (payload: unknown) => void> }): Promise<{ stop(): Promise<void> }>
  Logger: new (factory: () => () => void) => unknown
}

const open = ({ cache }: PlayerConfig) => peer<Graphile>(cache, 'graphile-worker')

/** graphile-worker: the library in the worker's own process, which talks to Postgres itself. Deletes a job when it is done. */
export const graphile: Player = {
  async prepare(config) {
    const utils = await (await open(config)).makeWorkerUtils({ connectionString: config.databaseUrl })
    await utils.migrate()
    await utils.release()
  },

  async openProducer(config) {
    const utils = await (await open(config)).makeWorkerUtils({ connectionString: config.databaseUrl, maxPoolSize: 32 })
    return {
      enqueueMany: async (payloads) => void (await utils.addJobs(payloads.map((payload) => ({ identifier: 'noop', payload })))),
      enqueueOne: async (payload) => void (await utils.addJob('noop', payload)),
      close: () => utils.release(),
    }
  },

  async startWorker(config, ran) {
    const { run, Logger } = await open(config)
    const { concurrency, localQueue, pool } = config.settings
    const batched = localQueue ? { localQueue: { size: localQueue }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } : {}
    const logger = new Logger(() => () => {})
    const preset = { worker: { connectionString: config.databaseUrl, concurrentJobs: concurrency, maxPoolSize: pool ?? 10, logger, ...batched } }
    const runner = await run({ preset, noHandleSignals: true, taskList: { noop: (payload) => ran(payload as Payload) } })
    return { stop: () => runner.stop() }
  },
}
