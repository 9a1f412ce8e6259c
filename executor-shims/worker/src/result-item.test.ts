import t from 'tap'
import { parseWorkerFrame } from '../../../protocol/src/index.js'
import { Stop, type Settlement } from './executor.js'
import { fitted, handoverOf, reportOf } from './result-item.js'

const LIMITS = { output: 1_000, frame: 8_000 }

t.test('a settlement in the words of the wire', async (t) => {
  t.same(reportOf({ outcome: 'ok', output: '1.0' }, 12.6), { outcome: 'ok', output: '1.0', wall_ms: 13 })
  t.same(reportOf({ outcome: 'ok' }, 0), { outcome: 'ok', output: 'null', wall_ms: 0 }, 'nothing returned is null')
  t.same(reportOf({ outcome: 'error', error: { class: 'E', message: 'm' }, retryable: false, retryAfterMs: 1_500.4 }, 1), {
    outcome: 'error',
    error: { class: 'E', message: 'm' },
    retryable: false,
    retry_after_ms: 1_500,
    wall_ms: 1,
  })
  t.same(reportOf({ outcome: 'crashed', exit: { code: 1, signal: 'SIGKILL' } }, 1), { outcome: 'crashed', exit: { code: 1, signal: 'SIGKILL' }, wall_ms: 1 })
})

t.test('whatever an executor puts into a settlement, the frame is a legal one', async (t) => {
  const odd: Settlement[] = [
    { outcome: 'error', error: { class: 'c'.repeat(300), message: 'm'.repeat(70_000), traceback: 't'.repeat(300_000) } },
    { outcome: 'error', error: { class: 'E\0', message: '\ud800' }, retryAfterMs: -5 },
    { outcome: 'error', retryAfterMs: Number.NaN, exit: { signal: 'S'.repeat(100) } },
    { outcome: 'error', retryAfterMs: Number.POSITIVE_INFINITY },
  ]
  for (const settlement of odd) {
    const text = fitted(reportOf(settlement, Number.NaN), { output: 1_000, frame: 4_000_000 })
    const parsed = parseWorkerFrame(`{"t":"result","items":[{"l":1,${text.slice(1)}]}`)
    t.match(parsed, { ok: true }, JSON.stringify(parsed).slice(0, 200))
    t.notMatch(text, /\\u0000|\\ud800/i)
  }
})

t.test('an output over the limit fails its run, for good and with the sizes', async (t) => {
  const fits = JSON.stringify('x'.repeat(998))
  t.match(JSON.parse(fitted(reportOf({ outcome: 'ok', output: fits }, 5), LIMITS)), { outcome: 'ok', output: fits })
  t.same(JSON.parse(fitted(reportOf({ outcome: 'ok', output: JSON.stringify('x'.repeat(999)) }, 5), LIMITS)), {
    outcome: 'error',
    error: { class: 'OutputTooLarge', message: "The output is 1001 bytes, the broker's limit is 1000. Store it elsewhere and return where it is" },
    retryable: false,
    wall_ms: 5,
  })
  const accents = JSON.stringify('é'.repeat(600))
  t.match(JSON.parse(fitted(reportOf({ outcome: 'ok', output: accents }, 5), LIMITS)), { error: { class: 'OutputTooLarge' } }, 'bytes, not characters')
})

t.test('what would burst the frame is made smaller', async (t) => {
  const quotes = JSON.stringify('"'.repeat(400))
  const narrow = { output: 1_000, frame: 1_200 }
  t.match(JSON.parse(fitted(reportOf({ outcome: 'ok', output: quotes }, 5), narrow)), { outcome: 'error', error: { class: 'OutputTooLarge' } })
  const failure = reportOf({ outcome: 'error', error: { class: 'E', message: 'why', traceback: 'x'.repeat(5_000) } }, 5)
  t.same(JSON.parse(fitted(failure, narrow)), { outcome: 'error', error: { class: 'E', message: 'why' }, wall_ms: 5 })
})

t.test('what we stopped for our own reasons is given back; what others asked for is reported', async (t) => {
  const cancelled: Settlement = { outcome: 'cancelled', error: { class: 'Cancelled', message: 'stopped' } }
  const ok: Settlement = { outcome: 'ok', output: '1' }
  t.same(handoverOf(cancelled, 1, new Stop('shutdown'), false), { release: 'shutdown' })
  t.same(handoverOf(cancelled, 1, new Stop('lost_lease'), false), { release: 'preempted' })
  t.same(handoverOf({ outcome: 'error' }, 1, new Stop('shutdown'), false), { release: 'shutdown' }, 'an error while being stopped is none of the run')
  t.match(handoverOf(ok, 1, new Stop('shutdown'), false), { report: { outcome: 'ok' } }, 'a success in time stays one')
  t.match(handoverOf(ok, 1, new Stop('lost_lease'), false), { report: { outcome: 'ok' } })
  t.match(handoverOf(ok, 1, new Stop('cancelled'), true), { report: { outcome: 'ok' } })
  t.match(handoverOf(cancelled, 1, new Stop('cancelled'), true), { report: { outcome: 'cancelled' } })
  t.match(handoverOf(cancelled, 1, new Stop('shutdown'), true), { report: { outcome: 'cancelled' } }, 'a cancel has to be answered')
  t.match(handoverOf({ outcome: 'timeout' }, 1, new Stop('timeout'), true), { report: { outcome: 'timeout' } })
  t.match(handoverOf({ outcome: 'timeout' }, 1, new Stop('timeout'), false), { report: { outcome: 'timeout' } })
  t.match(handoverOf({ outcome: 'error' }, 1, undefined, false), { report: { outcome: 'error' } })
  t.match(handoverOf({ outcome: 'error' }, 1, undefined, true), { report: { outcome: 'error' } }, 'it failed before the cancel reached it')
})
