import { Worker } from '../../executor-shims/worker/src/worker.js'
import { defineTask, Reproq, type TaskContext } from '../../sdk-ts/src/index.js'
import type { Payload, Player, PlayerConfig } from './player.js'

const task = (ran: (payload: Payload) => void) =>
  defineTask({
    name: 'bench.noop',
    run({ input }: TaskContext<Payload>) {
      ran(input)
      return 1
    },
  })

/** Us: SDK and worker over the network, never the database. The broker is a process that the rig starts. */
export const reproq: Player = {
  async prepare() {
    // The broker was started with --migrate.
  },

  async openProducer({ broker }: PlayerConfig) {
    const client = new Reproq({ ...broker })
    const noop = task(() => {})
    return {
      enqueueMany: async (payloads) => void (await client.enqueueMany(noop, payloads.map((input) => ({ input })))),
      enqueueOne: async (payload) => void (await client.enqueue(noop, payload)),
      enqueueAndWait: async (payload) => void (await client.run(noop, payload)),
      close: () => client.close(),
    }
  },

  async startWorker({ broker, settings }, ran) {
    const { concurrency, window } = settings
    // Peers leave console alone too.
    const worker = new Worker({ ...broker, tasks: [task(ran)], name: 'bench', captureConsole: false, ...(concurrency && { concurrency }), ...(window && { window }) })
    await worker.start()
    return { stop: () => worker.drain() }
  },
}
