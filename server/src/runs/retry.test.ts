import { readFileSync } from 'node:fs'
import t from 'tap'
import { decide, errorEntry, lastError, type Attempt, type Decision, type Report } from './retry.js'
import { backoffMs, type RetryPolicy } from './retry-policy.js'

const reproqRule: RetryPolicy = { baseMs: 30_000, capMs: 3_600_000, jitter: 0 }
const first: Attempt = { attempt: 1, maxAttempts: 3, workerId: 'w', cancelRequested: false }
const boom = { class: 'Boom', message: 'no' }

t.test('an outcome and an attempt decide where a run goes', async (t) => {
  const rows: [what: string, Report, Partial<Attempt>, Partial<Decision>][] = [
    ['ok', { outcome: 'ok', output: '1.0' }, {}, { to: 'SUCCESSFUL', output: '1.0' }],
    ['ok without an output is null', { outcome: 'ok' }, {}, { to: 'SUCCESSFUL', output: 'null' }],
    ['ok after a cancel was asked for is still done', { outcome: 'ok' }, { cancelRequested: true }, { to: 'SUCCESSFUL' }],
    ['error', { outcome: 'error', error: boom }, {}, { to: 'READY', delayMs: 30_000, kind: 'app_error', error: boom }],
    ['error without a description', { outcome: 'error' }, {}, { to: 'READY', error: { class: 'app_error', message: 'The task failed' } }],
    ['timeout', { outcome: 'timeout' }, {}, { to: 'READY', kind: 'timeout' }],
    ['crash', { outcome: 'crashed' }, {}, { to: 'READY', kind: 'crashed' }],
    ['the last attempt', { outcome: 'error' }, { attempt: 3 }, { to: 'FAILED', kind: 'app_error' }],
    ['an attempt beyond the last', { outcome: 'crashed' }, { attempt: 4 }, { to: 'FAILED', kind: 'crashed' }],
    ['an error that will not go away', { outcome: 'error', retryable: false }, {}, { to: 'FAILED', kind: 'app_error' }],
    ['retryable: true gives no more attempts', { outcome: 'error', retryable: true }, { attempt: 3 }, { to: 'FAILED' }],
    ['the task says when', { outcome: 'error', retry_after_ms: 5 }, {}, { to: 'READY', delayMs: 5 }],
    ['the task says at once', { outcome: 'error', retry_after_ms: 0 }, {}, { to: 'READY', delayMs: 0 }],
    ['retry_after gives no more attempts', { outcome: 'error', retry_after_ms: 5 }, { attempt: 3 }, { to: 'FAILED' }],
    ['rejected is never tried again', { outcome: 'rejected', retryable: true }, {}, { to: 'FAILED', kind: 'security_violation' }],
    ['cancelled as requested', { outcome: 'cancelled' }, { cancelRequested: true }, { to: 'CANCELLED', kind: 'cancelled' }],
    ['cancelled as requested at the last attempt', { outcome: 'cancelled' }, { cancelRequested: true, attempt: 3 }, { to: 'CANCELLED' }],
    ['to be started later', { outcome: 'postponed', retry_after_ms: 5 }, { attempt: 3 }, { to: 'release', delayMs: 5, holdsQueue: false }],
    ['with its whole queue', { outcome: 'postponed', retry_after_ms: 5, hold_queue: true }, {}, { to: 'release', delayMs: 5, holdsQueue: true }],
    ['to be started again at once', { outcome: 'postponed' }, {}, { to: 'release', delayMs: 0 }],
    ['stopped though nobody asked: given back', { outcome: 'cancelled' }, {}, { to: 'release' }],
    ['stopped though nobody asked, at the last attempt', { outcome: 'cancelled', retryable: false }, { attempt: 3 }, { to: 'release' }],
  ]
  for (const [what, report, attempt, expected] of rows) t.match(decide(report, { ...first, ...attempt }, reproqRule), expected, what)
})

t.test('a run may have a policy of its own, beside which the settings fill what it leaves out', async (t) => {
  const failed = (retry: object | string, attempt: Partial<Attempt> = {}, report: Partial<Report> = {}) =>
    decide({ outcome: 'error', error: boom, ...report }, { ...first, retry: typeof retry === 'string' ? retry : JSON.stringify(retry), ...attempt }, { ...reproqRule, jitter: 0.5 }, () => 1)
  t.match(failed({ jitter: 0 }), { to: 'READY', delayMs: 30_000 })
  t.match(failed({}), { delayMs: 45_000 }, 'the jitter of the settings')
  t.match(failed({ base_ms: 1_000, jitter: 0.1 }, { attempt: 2 }), { delayMs: 2_200 })
  t.match(failed({ base_ms: 1_000, factor: 1, jitter: 0 }, { attempt: 2 }), { delayMs: 1_000 })
  t.match(failed({ cap_ms: 7, jitter: 0 }), { delayMs: 7 })
  t.match(failed({ delays_ms: [5, 50], jitter: 0 }, { attempt: 2 }), { delayMs: 50 })
  t.match(failed({ delays_ms: [5] }, {}, { retry_after_ms: 9 }), { delayMs: 9 }, 'the task says when')
  t.match(failed({ delays_ms: [5] }, { attempt: 3 }), { to: 'FAILED' }, 'attempts are the row\'s')
  t.match(failed({ non_retryable: ['Other', 'Boom'] }), { to: 'FAILED', kind: 'app_error' })
  t.match(failed({ non_retryable: ['Boom'] }, {}, { error: { class: 'shop.errors.Boom', message: '' } }), { to: 'FAILED' }, "without Python's module")
  t.match(failed({ non_retryable: ['oom', 'errors.Boo'] }, {}, { error: { class: 'shop.errors.Boom', message: '' } }), { to: 'READY' }, 'whole names')
  t.match(failed({ non_retryable: ['Boom'] }, {}, { retry_after_ms: 9 }), { to: 'FAILED' })
})

t.test('a policy that makes no sense loses no failure', async (t) => {
  for (const retry of ['null', '[]', '"x"', '{"base_ms":"x","factor":0,"cap_ms":-1,"jitter":7,"delays_ms":[null],"non_retryable":[1]}', '{"delays_ms":[]}', '{"delays_ms":7,"non_retryable":"Boom"}']) {
    t.match(decide({ outcome: 'error', error: boom }, { ...first, retry }, reproqRule), { to: 'READY', delayMs: 30_000 }, retry)
  }
  t.match(decide({ outcome: 'error' }, { ...first, retry: '{"base_ms":1e300,"cap_ms":1e300}' }, reproqRule), { delayMs: 5_184_000_000 }, 'what Postgres could not add to a time')
})

t.test("waits are Reproq's: 30 s, doubled with each attempt, an hour at most", async (t) => {
  const waits = [1, 2, 3, 4, 5, 6, 7, 8, 9, 50, 5_000].map((attempt) => backoffMs(attempt, reproqRule))
  t.strictSame(waits.map((ms) => ms / 1_000), [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600, 3_600])
})

t.test('the vectors that other implementations are held to hold here', async (t) => {
  const { vectors } = JSON.parse(readFileSync(new URL('../../../protocol/vectors/backoff.json', import.meta.url), 'utf8')) as { vectors: { base_ms: number; cap_ms: number; factor?: number; delays_ms?: number[]; attempt: number; wait_ms: number }[] }
  for (const { base_ms: baseMs, cap_ms: capMs, factor = 2, delays_ms: delaysMs = [], attempt, wait_ms: waitMs } of vectors) t.equal(backoffMs(attempt, { baseMs, capMs, factor, delaysMs, jitter: 0 }), waitMs)
})

t.test('jitter only adds, and never more than its share', async (t) => {
  const policy = { ...reproqRule, jitter: 0.2 }
  t.equal(backoffMs(2, policy, () => 0), 60_000)
  t.equal(backoffMs(2, policy, () => 0.5), 66_000)
  t.equal(backoffMs(2, policy, () => 1), 72_000)
  t.equal(decide({ outcome: 'error' }, first, policy, () => 1).to, 'READY')
  t.match(decide({ outcome: 'error' }, first, policy, () => 1), { delayMs: 36_000 })
})

t.test('last_error is one line of at most 1,024 whole characters', async (t) => {
  t.equal(lastError({ class: 'Boom', message: 'no' }), 'Boom: no')
  const long = lastError({ class: 'B', message: '😀'.repeat(5_000) })
  t.equal([...long].length, 1_024)
  t.ok(long.isWellFormed(), 'no character is cut in two')
  t.ok(lastError({ class: 'Bo', message: '😀'.repeat(5_000) }).isWellFormed(), 'at an odd place neither')
})

t.test('no text of an error can be refused by Postgres: NUL and half surrogates are replaced', async (t) => {
  const hostile = { class: 'B\0', message: 'a\0b\ud800', traceback: '\udc00\0' }
  const entry = errorEntry('app_error', hostile, first)
  t.notMatch(entry, /\\u0000|\\ud800|\\udc00/i)
  t.match(JSON.parse(entry), { kind: 'app_error', exception_class: 'B\ufffd', message: 'a\ufffdb\ufffd', traceback: '\ufffd\ufffd', attempt: 1, worker_id: 'w', at: /^\d{4}-.*Z$/ })
  t.equal(lastError(hostile), 'B\ufffd: a\ufffdb\ufffd')
})

t.test('a run that takes its process with it is counted apart from its attempts, and not tried again at the limit', async (t) => {
  const rules = { baseMs: 100, capMs: 100, jitter: 0, quarantineCrashes: 3 }
  const crashed = { outcome: 'crashed' as const, error: { class: 'ExecutorCrashed', message: 'SIGSEGV', traceback: 'core' } }
  const attempt = { attempt: 1, maxAttempts: 20, workerId: 'w', cancelRequested: false }
  t.match(decide(crashed, attempt, rules), { to: 'READY', kind: 'crashed', crashes: 1 })
  t.match(decide(crashed, { ...attempt, crashes: 1 }, rules), { to: 'READY', crashes: 2 })
  t.match(decide(crashed, { ...attempt, crashes: 2 }, rules), { to: 'FAILED', kind: 'quarantined', error: { class: 'Quarantined', message: /3 times.* ExecutorCrashed: SIGSEGV/, traceback: 'core' } })
  t.match(decide(crashed, { ...attempt, crashes: 9 }, { ...rules, quarantineCrashes: 0 }), { to: 'READY', crashes: 10 }, '0: never')
  const notStarted = { outcome: 'crashed' as const, error: { class: 'ExecutorNotStarted', message: 'no python' } }
  t.match(decide(notStarted, { ...attempt, crashes: 2 }, rules), { to: 'READY', kind: 'crashed', crashes: undefined }, 'its code was never reached')
  t.strictSame((decide({ outcome: 'error' }, { ...attempt, crashes: 2 }, rules) as { crashes?: number }).crashes, undefined, 'nor is a failure a crash')
})
