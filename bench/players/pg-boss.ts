import { peer } from './peer.js'
import type { Payload, Player, PlayerConfig } from './player.js'

interface Job {
  id: string
  data: Payload
}
interface Boss {
  on(event: 'error', listener: (error: Error) => void): void
  start(): Promise<unknown>
  stop(options: { graceful: boolean }): Promise<void>
  createQueue(name: string, options: { partition: boolean; notify: boolean }): Promise<void>
  insert(name: string, jobs: { data: Payload }[]): Promise<unknown>
  send(name: string, data: Payload): Promise<unknown>
  work(name: string, options: Record<string, unknown>, handler: (jobs: Job[]) => Promise<unknown>): Promise<string>
}
interface PgBossModule {
  PgBoss: new (options: Record<string, unknown>) => Boss
}

const QUEUE = 'bench'

/** pg-boss: a partition of its own for the queue, woken by NOTIFY, whole batches to a handler. Keeps finished jobs. */
export const pgBoss: Player = {
  async prepare(config) {
    const boss = await open(config, {})
    await boss.createQueue(QUEUE, { partition: true, notify: true })
    await boss.stop({ graceful: false })
  },

  async openProducer(config) {
    const boss = await open(config, {})
    return {
      enqueueMany: async (payloads) => void (await boss.insert(QUEUE, payloads.map((data) => ({ data })))),
      enqueueOne: async (payload) => void (await boss.send(QUEUE, payload)),
      close: () => boss.stop({ graceful: false }),
    }
  },

  async startWorker(config, ran) {
    const boss = await open(config, { useListenNotify: true })
    const { batchSize, localConcurrency, each } = config.settings
    const options = { batchSize, localConcurrency, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5, perJobResults: each === 1 }
    await boss.work(QUEUE, options, async (jobs) => {
      for (const { data } of jobs) ran(data)
      return each ? jobs.map(({ id }) => ({ id, status: 'completed', output: { value: 1 } })) : undefined
    })
    return { stop: () => boss.stop({ graceful: false }) }
  },
}

/** Without its chores: no schedules and no clean-up while the clock runs. */
async function open({ cache, databaseUrl }: PlayerConfig, options: Record<string, unknown>): Promise<Boss> {
  const { PgBoss } = await peer<PgBossModule>(cache, 'pg-boss')
  const boss = new PgBoss({ connectionString: databaseUrl, max: 32, supervise: false, schedule: false, registerInstance: false, ...options })
  boss.on('error', (error) => console.error(error))
  await boss.start()
  return boss
}
