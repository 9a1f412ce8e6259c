import { cpuSeconds, serverCpuSeconds } from './machine/cpu.js'
import type { Postgres } from './machine/postgres.js'

export interface Pids {
  broker: number
  worker: number
  producer: number
}

/** What a piece of work cost, by who paid. CPU in seconds. */
export interface Cost {
  walBytes: number
  commits: number
  cpu: { postgres: number; broker: number; worker: number; producer: number }
}

/** Starts counting; the function it returns says what was used since. */
export async function counting(postgres: Postgres, pids: Pids): Promise<() => Promise<Cost>> {
  const before = await readings(postgres, pids)
  return async () => {
    const after = await readings(postgres, pids)
    const used = (role: keyof Cost['cpu']) => after.cpu[role] - before.cpu[role]
    return {
      walBytes: after.walBytes - before.walBytes,
      commits: after.commits - before.commits,
      cpu: { postgres: used('postgres'), broker: used('broker'), worker: used('worker'), producer: used('producer') },
    }
  }
}

async function readings(postgres: Postgres, pids: Pids): Promise<Cost> {
  return {
    walBytes: await postgres.walPosition(),
    commits: await postgres.writingTransactions(),
    cpu: { postgres: serverCpuSeconds(postgres.pid), broker: cpuSeconds(pids.broker), worker: cpuSeconds(pids.worker), producer: cpuSeconds(pids.producer) },
  }
}
