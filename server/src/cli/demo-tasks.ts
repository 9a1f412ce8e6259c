import { setTimeout as delay } from 'node:timers/promises'
import { defineSchedule, defineTask, type TaskContext } from '../../../sdk-ts/src/index.js'

/** What the worker of `reproq demo` runs. */

export const resize = defineTask({
  name: 'demo.resize',
  async run({ input, signal }: TaskContext<{ image: string }>) {
    await delay(50, undefined, { signal })
    return `${input.image}, 640 pixels wide`
  },
})

export const flaky = defineTask({
  name: 'demo.flaky',
  retry: { attempts: 3, backoff: 'fixed', min: '1s' },
  run({ attempt }: TaskContext<void>) {
    if (attempt < 3) throw new Error(`The provider is busy (attempt ${attempt} of 3)`)
    return 'sent at the third attempt'
  },
})

/** Ends as a dead letter: `reproq triage list` shows it. */
export const hopeless = defineTask({
  name: 'demo.hopeless',
  retry: { attempts: 1 },
  run(): string {
    throw new Error('There is no such account')
  },
})

export const summary = defineTask({ name: 'demo.summary', run: ({ parents }: TaskContext<void>) => `${Object.keys(parents).length} images in the album` })

export const clock = defineTask({ name: 'demo.clock', run: () => new Date().toISOString() })

export const everyFiveSeconds = defineSchedule({ name: 'demo.clock', cron: '*/5 * * * * *', task: clock })
