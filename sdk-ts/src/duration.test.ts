import t from 'tap'
import { durationMs, InvalidDuration } from './duration.js'

t.test('a duration is milliseconds, or text with units', async (t) => {
  const cases: [number | string, number][] = [[0, 0], [250, 250], ['250ms', 250], ['1.5s', 1_500], ['10m', 600_000], ['1h30m', 5_400_000], ['2d', 172_800_000], ['1w', 604_800_000]]
  for (const [duration, ms] of cases) t.equal(durationMs(duration), ms, String(duration))
})

t.test('a fraction of a millisecond is rounded up, and binary noise is not', async (t) => {
  t.equal(durationMs(0.2), 1)
  t.equal(durationMs('1.1s'), 1_100)
})

t.test('what is no duration is quoted in the error', async (t) => {
  for (const bad of ['10 minutes', '', 's', '-1s', '5', '1m banana']) {
    t.throws(() => durationMs(bad), { name: 'InvalidDuration', code: 'INVALID_DURATION', message: `${JSON.stringify(bad)} is not a duration` })
  }
  for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY]) t.throws(() => durationMs(bad), InvalidDuration, String(bad))
  t.throws(() => durationMs(null as unknown as string), InvalidDuration)
})
