import t from 'tap'
import { afterClose, afterRefusal, backoffMs, hurriedMs, retryAfterMs } from './reconnect.js'

t.test('the backoff doubles from 0.25 s to 10 s and is anything below that', async (t) => {
  const longest = [0, 1, 2, 3, 4, 5, 6, 50, 5_000].map((attempt) => backoffMs(attempt, undefined, () => 1))
  t.same(longest, [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000])
  t.equal(backoffMs(6, undefined, () => 0), 0)
  t.equal(backoffMs(2, undefined, () => 0.5), 500)
  t.equal(backoffMs(6, 1_875, () => 1), 1_875)
})

t.test('while leases wait, the backoff stays short enough for several tries', async (t) => {
  t.same([0, 700, 15_000, 600_000].map(hurriedMs), [250, 250, 1_875, 10_000])
})

t.test('a close code says whether to come back', async (t) => {
  const expected = { 1000: 'backoff', 1001: 'now', 1006: 'backoff', 4400: 'backoff', 4401: 'backoff', 4403: 'never', 4406: 'never', 4409: 'never', 4503: 'now', 4504: 'now', 4999: 'backoff' }
  for (const [code, next] of Object.entries(expected)) t.equal(afterClose(Number(code)), next, code)
})

t.test('a refused upgrade: some are mistakes for good, some only at the first start', async (t) => {
  const expected: [status: number | undefined, first: string, later: string][] = [
    [undefined, 'backoff', 'backoff'],
    [401, 'never', 'backoff'],
    [403, 'never', 'never'],
    [404, 'never', 'backoff'],
    [408, 'backoff', 'backoff'],
    [426, 'never', 'never'],
    [429, 'backoff', 'backoff'],
    [502, 'backoff', 'backoff'],
    [503, 'backoff', 'backoff'],
  ]
  for (const [status, first, later] of expected) {
    t.equal(afterRefusal(status, false), first, `${status} at the first start`)
    t.equal(afterRefusal(status, true), later, `${status} later`)
  }
})

t.test('Retry-After in seconds or as a date', async (t) => {
  const now = Date.parse('2026-01-01T00:00:00Z')
  const expected: [header: string | undefined, ms: number][] = [
    [undefined, 0],
    ['2', 2_000],
    ['0', 0],
    ['-3', 0],
    ['soon', 0],
    ['Thu, 01 Jan 2026 00:00:05 GMT', 5_000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['999999', 300_000],
  ]
  for (const [header, ms] of expected) t.equal(retryAfterMs(header, now), ms, String(header))
})
