import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask, RetryAfter, type TaskContext } from '../../sdk-ts/src/index.js'

/** Tasks of worker processes that faults are done to. Each start is a line in a file, outside Postgres, before anything else. */

export interface Work {
  /** How long it takes. */
  ms?: number
}

/** Says that an attempt has started: one write, so that lines of several processes do not mix. */
function record({ runId, attempt }: TaskContext<unknown>): void {
  appendFileSync(process.env.REPROQ_TEST_LEDGER as string, `${runId} ${attempt} ${process.pid}\n`)
}

/** Stops when it is told to. */
export const work = defineTask({
  name: 'ledger.work',
  async run(context: TaskContext<Work>) {
    record(context)
    await sleep(context.input.ms ?? 0, undefined, { signal: context.signal })
    return { attempt: context.attempt, pid: process.pid }
  },
})

/** Sets its own limit, then takes its time. */
export const extending = defineTask({
  name: 'ledger.extending',
  async run({ input, extend, signal }: TaskContext<{ extendMs: number; ms: number }>) {
    const granted = await extend(input.extendMs)
    await sleep(input.ms, undefined, { signal })
    return granted
  },
})

/** Asks for more time as long as it gets some. */
export const insatiable = defineTask({
  name: 'ledger.insatiable',
  async run({ extend, signal }: TaskContext) {
    for (;;) {
      await extend('1s')
      await sleep(100, undefined, { signal })
    }
  },
})

/** Does not care about its signal. */
export const stubborn = defineTask({
  name: 'ledger.stubborn',
  async run(context: TaskContext<Work>) {
    record(context)
    await sleep(context.input.ms ?? 0)
    return { attempt: context.attempt, pid: process.pid }
  },
})

/** Takes its worker down with it, at once. */
export const poison = defineTask({
  name: 'ledger.poison',
  run(context: TaskContext<Work>) {
    record(context)
    process.kill(process.pid, 'SIGKILL')
  },
})

/** Fails once, and goes on where it was. */
export const resume = defineTask({
  name: 'ledger.resume',
  run({ attempt, log, progress, checkpoint, lastCheckpoint }: TaskContext<Work>) {
    log.info('began', { with: lastCheckpoint ?? null })
    progress(50, 'half')
    checkpoint({ rows: 7 })
    if (attempt === 1) throw new RetryAfter(0)
    return { attempt, found: lastCheckpoint }
  },
})

/** Prints its name in turn with another run that does the same. */
export const chat = defineTask({
  name: 'ledger.chat',
  async run({ input: { name, turns } }: TaskContext<{ name: string; turns: number }>) {
    for (let turn = 1; turn <= turns; turn++) {
      console.log(`${name} says %d`, turn)
      await sleep(10)
    }
    console.error(`${name} is done`)
  },
})

/** Keeps a checkpoint of this size. */
export const keep = defineTask({
  name: 'ledger.keep',
  run: ({ input, checkpoint }: TaskContext<{ bytes: number }>) => checkpoint('x'.repeat(input.bytes)),
})
