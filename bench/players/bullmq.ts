import { peer } from './peer.js'
import type { Payload, Player, PlayerConfig } from './player.js'

interface Connection {
  connectionString: string
  max: number
  migrate?: boolean
}
interface Closing {
  waitUntilReady(): Promise<unknown>
  close(force?: boolean): Promise<void>
}
interface Queue extends Closing {
  add(name: string, data: Payload): Promise<unknown>
  addBulk(jobs: { name: string; data: Payload }[]): Promise<unknown>
}
interface BullMq {
  createPostgresBackend: unknown
  Queue: new (name: string, options: { connection: Connection }, backend: unknown) => Queue
  Worker: new (name: string, handler: (job: { data: Payload }) => Promise<number>, options: { connection: Connection; concurrency: number | undefined }, backend: unknown) => Closing
}

const QUEUE = 'bench'
const open = ({ cache }: PlayerConfig) => peer<BullMq>(cache, 'bullmq')

/** BullMQ on its Postgres backend. Keeps finished jobs, as it does by default. */
export const bullmq: Player = {
  async prepare(config) {
    const { Queue, createPostgresBackend } = await open(config)
    const queue = new Queue(QUEUE, { connection: { ...connection(config), migrate: true } }, createPostgresBackend)
    await queue.waitUntilReady()
    await queue.close()
  },

  async openProducer(config) {
    const { Queue, createPostgresBackend } = await open(config)
    const queue = new Queue(QUEUE, { connection: connection(config) }, createPostgresBackend)
    await queue.waitUntilReady()
    return {
      enqueueMany: async (payloads) => void (await queue.addBulk(payloads.map((data) => ({ name: 'noop', data })))),
      enqueueOne: async (payload) => void (await queue.add('noop', payload)),
      close: () => queue.close(),
    }
  },

  async startWorker(config, ran) {
    const { Worker, createPostgresBackend } = await open(config)
    const handler = async ({ data }: { data: Payload }) => {
      ran(data)
      return 1
    }
    const worker = new Worker(QUEUE, handler, { connection: connection(config), concurrency: config.settings.concurrency }, createPostgresBackend)
    await worker.waitUntilReady()
    return { stop: () => worker.close(true) }
  },
}

function connection({ databaseUrl, settings }: PlayerConfig): Connection {
  return { connectionString: databaseUrl, max: settings.pool ?? 32 }
}
