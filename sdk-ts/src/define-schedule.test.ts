import t from 'tap'
import { defineSchedule, isSchedule } from './define-schedule.js'
import { defineTask, type TaskContext } from './define-task.js'
import { remoteTask } from './remote-task.js'

const report = defineTask({ name: 'report', queue: 'low', priority: 3, timeout: '1h', retry: { attempts: 5 }, lockKey: ({ pages }: { pages: number }) => `report-${pages}`, run: ({ input }: TaskContext<{ pages: number }>) => input.pages })

t.test('a schedule asks for what the task would be asked for, and for what it says itself', async (t) => {
  const nightly = defineSchedule({ name: 'nightly', cron: '30 2 * * *', timeZone: 'Europe/Berlin', task: report, input: { pages: 3 }, priority: 9, missed: 'all', missedWindow: '2h', overlap: 'skip', jitter: '90s', expiresIn: '1d' })
  t.ok(isSchedule(nightly))
  t.notOk(isSchedule(report))
  t.notOk(isSchedule(undefined))
  t.strictSame(await nightly.toRequest(), {
    name: 'nightly', cron: '30 2 * * *', time_zone: 'Europe/Berlin', task: 'report', args: [{ pages: 3 }], queue: 'low', priority: 9, max_attempts: 5, timeout_ms: 3_600_000, lock_key: 'report-3', expires_in_ms: 86_400_000,
    missed: 'all', missed_window_ms: 7_200_000, overlap: 'skip', jitter_ms: 90_000,
  })
})

t.test('what is left out is left to the task and to the broker', async (t) => {
  t.strictSame(await defineSchedule({ name: 'a', cron: '@daily', task: 'sweep' }).toRequest(), { task: 'sweep', args: [], name: 'a', cron: '@daily' })
  const add = remoteTask<{ args: [number, number] }, number>('mypkg.tasks.add', { queue: 'python' })
  t.strictSame(await defineSchedule({ name: 'b', cron: '@daily', task: add, input: { args: [1, 2] }, enabled: false }).toRequest(), { task: 'mypkg.tasks.add', args: [1, 2], queue: 'python', name: 'b', cron: '@daily', enabled: false })
})

t.test('what a schedule cannot keep is refused', async (t) => {
  t.throws(() => defineSchedule({ name: '', cron: '@daily', task: 'a' }), { code: 'INVALID_OPTION' })
  t.throws(() => defineSchedule({ name: 'x'.repeat(256), cron: '@daily', task: 'a' }), { code: 'INVALID_OPTION' })
  await t.rejects(defineSchedule({ name: 'a', cron: '@daily', task: 'a', jitter: 'soon' }).toRequest(), { code: 'INVALID_DURATION' })
  const limited = defineTask({ name: 'limited', rate: { key: 'k', limit: 1, per: '1s' }, run: () => 1 })
  await t.rejects(defineSchedule({ name: 'a', cron: '@daily', task: limited }).toRequest(), { code: 'INVALID_OPTION', message: /rate limit by key/ })
})
