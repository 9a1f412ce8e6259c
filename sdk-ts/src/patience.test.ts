import { mock } from 'node:test'
import t from 'tap'
import { attemptSignal, pause, pauseMs } from './patience.js'

t.beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
t.afterEach(() => mock.timers.reset())

t.test('pauses grow with every failure up to a limit, and differ between clients', async (t) => {
  for (const [failures, longest] of [[0, 100], [1, 200], [3, 800], [5, 2_000], [500, 2_000]] as const) {
    const pauses = Array.from({ length: 100 }, () => pauseMs(failures))
    t.ok(Math.min(...pauses) >= longest / 2 && Math.max(...pauses) <= longest, `after ${failures} failures`)
    t.ok(new Set(pauses).size > 50)
  }
})

t.test('what the server asked for stands, unless it is no number of seconds', async (t) => {
  t.equal(pauseMs(5, '7'), 7_000)
  t.ok(pauseMs(0, 'Wed, 21 Oct 2026 07:28:00 GMT') <= 100)
  t.ok(pauseMs(0, '-3') >= 50)
})

t.test('a pause ends with its time or with the signal', async (t) => {
  const whole = pause(1_000)
  mock.timers.tick(1_000)
  await whole

  const stopping = new AbortController()
  const cut = pause(1_000, stopping.signal)
  stopping.abort(new Error('stop'))
  await t.rejects(cut, { message: 'stop' })
  await t.rejects(pause(1_000, AbortSignal.abort(new Error('before'))), { message: 'before' })
})

t.test('an attempt ends when nothing was heard for its time, counted from the last restart', async (t) => {
  const attempt = attemptSignal(1_000)
  mock.timers.tick(900)
  attempt.restart()
  mock.timers.tick(900)
  t.notOk(attempt.signal.aborted)
  mock.timers.tick(100)
  t.match(attempt.signal.reason, { message: 'no answer within 1000 ms' })
})

t.test('an attempt follows the signal of its caller until it is released', async (t) => {
  const outer = new AbortController()
  const [followed, released] = [attemptSignal(1_000, outer.signal), attemptSignal(1_000, outer.signal)]
  released.release()
  outer.abort(new Error('stop'))
  mock.timers.tick(5_000)

  t.match(followed.signal.reason, { message: 'stop' })
  t.notOk(released.signal.aborted)
  t.match(attemptSignal(1_000, outer.signal).signal.reason, { message: 'stop' }, 'also when it aborted before')
})
