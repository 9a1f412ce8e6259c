import { ReproqError } from './reproq-error.js'

/** A length of time: a number of milliseconds, or text such as "250ms", "1.5s", "10m", "1h30m", "7d", "2w". */
export type Duration = number | string

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const
const part = /(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/g
const whole = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+$/

/** The text is no length of time. `code` INVALID_DURATION. */
export class InvalidDuration extends ReproqError {
  constructor(value: unknown) {
    const shown = typeof value === 'string' ? JSON.stringify(value) : String(value)
    super('INVALID_DURATION', `${shown} is not a duration`, {
      hint: 'Give milliseconds as a number of zero or more, or text with a unit (ms, s, m, h, d, w): "250ms", "1.5s", "10m", "1h30m"',
    })
    this.name = 'InvalidDuration'
  }
}

/**
 * Whole milliseconds of a duration, rounded up so that a short wait never becomes none.
 * Throws InvalidDuration for anything that is not zero or more.
 */
export function durationMs(duration: Duration): number {
  const ms = typeof duration === 'number' ? duration : textMs(duration)
  if (!Number.isFinite(ms) || ms < 0) throw new InvalidDuration(duration)
  // Three decimals first: 1.1 s is 1100.0000000000002 ms in binary, which must not become 1101.
  return Math.ceil(Number(ms.toFixed(3)))
}

function textMs(text: string): number {
  if (typeof text !== 'string' || !whole.test(text)) return Number.NaN
  let ms = 0
  for (const [, amount, unit] of text.matchAll(part)) ms += Number(amount) * unitMs[unit as keyof typeof unitMs]
  return ms
}
