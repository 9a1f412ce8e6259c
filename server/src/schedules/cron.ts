import { Cron } from 'croner'
import { BrokerError } from '../errors.js'

/** When a schedule fires. Instants are milliseconds since the epoch, on whole seconds. */
export interface Timetable {
  /** The first instant after this one. */
  next(afterMs: number): number
  /** The last instant after `sinceMs` and not after `untilMs`; undefined when there is none. */
  last(sinceMs: number, untilMs: number): number | undefined
}

interface Field {
  name: string
  low: number
  high: number
  names?: readonly string[]
}

const FIELDS: readonly Field[] = [
  { name: 'second', low: 0, high: 59 },
  { name: 'minute', low: 0, high: 59 },
  { name: 'hour', low: 0, high: 23 },
  { name: 'day of month', low: 1, high: 31 },
  { name: 'month', low: 1, high: 12, names: ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'] },
  { name: 'day of week', low: 0, high: 6, names: ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] },
]
/** Also Sunday, and allowed where a number stands by itself. */
const SEVEN = 7

const NICKNAMES: Record<string, string> = {
  '@hourly': '0 * * * *',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@weekly': '0 0 * * 0',
  '@monthly': '0 0 1 * *',
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
}

/** What a date of four digits says. */
export const LAST_MS = Date.parse('9999-12-31T23:59:59.999Z')

const ZONE_PREFIX = /^(?:CRON_)?TZ=(\S+)\s+/
const EVERY = /^@every\s+((?:\d+[hms])+)$/
const UNIT_MS = { h: 3_600_000, m: 60_000, s: 1_000 } as const

/**
 * Reproq's grammar (five fields as robfig/cron v3 reads them: names, `?`, `a/n`; day of month and day of week OR when both are
 * restricted; `TZ=` in front) with 7 as Sunday, seconds as a sixth field in front, @hourly … @yearly, and `@every 1h30m`.
 *
 * Daylight saving: an expression whose hour, minute and second are numbers, lists or ranges names times of day. One that the
 * clock skips fires when the gap ends, one that comes twice fires the first time. With `*` or a step in one of them it names
 * intervals, which go on through both: they fire at instants that exist, and in both of a doubled hour.
 *
 * Throws INVALID_CRON, naming the field and its value, and INVALID_TIME_ZONE.
 */
export function timetable(expression: string, timeZone: string | null = null): Timetable {
  const [prefix, ownZone] = ZONE_PREFIX.exec(expression.trim()) ?? ['']
  const zone = checkedZone(ownZone ?? timeZone ?? 'UTC', expression)
  const rest = expression.trim().slice(prefix.length)
  if (rest.startsWith('@every')) return interval(rest, expression)
  const cron = new Cron(plain(NICKNAMES[rest.toLowerCase()] ?? rest, expression), { timezone: zone, mode: '6-part', fixedTimeRule: 'no-wildcard', paused: true })
  if (cron.nextRun(new Date(0)) === null) throw invalid(expression, 'names a day that no month has')
  return {
    // None is only at the end of the calendar, for an expression without any has just been refused.
    next: (afterMs) => cron.nextRun(new Date(afterMs))?.getTime() ?? Number.POSITIVE_INFINITY,
    last: (sinceMs, untilMs) => {
      // What is sought is strictly before the reference.
      const [found] = cron.previousRuns(1, new Date(Math.floor(untilMs / 1_000) * 1_000 + 1_000))
      return found && found.getTime() > sinceMs ? found.getTime() : undefined
    },
  }
}

/** The next `count` instants after `afterMs`, as far as the calendar goes. Throws INVALID_CRON and INVALID_TIME_ZONE. */
export function preview(expression: string, timeZone: string | null, count: number, afterMs: number): number[] {
  const { next } = timetable(expression, timeZone)
  const instants: number[] = []
  for (let at = next(afterMs); instants.length < count && at <= LAST_MS; at = next(at)) instants.push(at)
  return instants
}

/** Throws INVALID_TIME_ZONE for a zone this runtime does not know. Go's "Local" is one: a broker's own zone is nobody's promise. */
function checkedZone(zone: string, expression: string): string {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone
  } catch (error) {
    throw new BrokerError('INVALID_TIME_ZONE', `There is no time zone "${zone}", in which "${expression}" is to be read`, { cause: error })
  }
}

/** Counted from the slot before, so that a change of the clock is nothing to it. */
function interval(rest: string, expression: string): Timetable {
  const [, text] = EVERY.exec(rest) ?? []
  let everyMs = 0
  for (const [, amount, unit] of (text ?? '').matchAll(/(\d+)([hms])/g)) everyMs += Number(amount) * UNIT_MS[unit as keyof typeof UNIT_MS]
  if (everyMs < 1_000 || everyMs > 366 * 86_400_000) throw invalid(expression, 'takes a length from 1s to 8784h after @every, such as "@every 90s" or "@every 1h30m"')
  return {
    next: (afterMs) => afterMs + everyMs,
    last: (sinceMs, untilMs) => (untilMs < sinceMs + everyMs ? undefined : sinceMs + Math.floor((untilMs - sinceMs) / everyMs) * everyMs),
  }
}

/** The six fields in the few forms that mean the same to croner and to robfig: `*`, numbers, ranges and steps of them. */
function plain(text: string, expression: string): string {
  const parts = text.split(/\s+/)
  if (text.startsWith('@')) throw invalid(expression, `begins with "${parts[0]}"; there are ${Object.keys(NICKNAMES).join(' ')} and "@every 5m"`)
  if (parts.length !== 5 && parts.length !== 6) throw invalid(expression, `has ${text === '' ? 0 : parts.length} fields; it takes 5 (minute hour day month weekday), or 6 with seconds in front`)
  const six = parts.length === 6 ? parts : ['0', ...parts]
  return six.map((part, at) => plainField(part, FIELDS[at] as Field, expression)).join(' ')
}

function plainField(text: string, field: Field, expression: string): string {
  const parts = text.split(',').map((part) => plainPart(part, field, expression))
  // Of one asterisk the rest is part, and only a lone one leaves the other day field to decide alone.
  return parts.includes('*') ? '*' : parts.join(',')
}

function plainPart(text: string, field: Field, expression: string): string {
  const wrong = (what: string) => invalid(expression, `has "${text}" as ${field.name}: ${what}`)
  const [range = '', stepText, ...more] = text.split('/')
  const [fromText = '', toText, ...further] = range.split('-')
  if (more.length > 0 || further.length > 0 || fromText === '') throw wrong('that is no number, range (1-5), step (*/10) or list (1,15)')
  const star = toText === undefined && (fromText === '*' || fromText === '?')
  const from = star ? field.low : valueOf(fromText, field, wrong)
  const open = star || (toText === undefined && stepText !== undefined)
  const to = open ? field.high : toText === undefined ? from : valueOf(toText, field, wrong)
  const step = stepText === undefined ? 1 : Number(/^\d{1,9}$/.test(stepText) ? stepText : Number.NaN)
  if (!(step >= 1)) throw wrong(`a step is a number of at least 1`)
  if (from > to) throw wrong(`the range ends before it begins`)
  if (star && step === 1) return '*'
  // A step longer than the field reaches only its beginning; croner would refuse it.
  if (star && step <= field.high - field.low) return `*/${step}`
  if (from === to || step > to - from) return String(from)
  return `${from}-${to}${step === 1 ? '' : `/${step}`}`
}

function valueOf(text: string, { low, high, names }: Field, wrong: (what: string) => BrokerError): number {
  const named = names?.indexOf(text.toLowerCase()) ?? -1
  if (named >= 0) return named + low
  const most = names?.[0] === 'sun' ? SEVEN : high
  const value = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN
  if (value >= low && value <= most) return value
  throw wrong(`it takes ${low} to ${most}${names ? ` or ${names[0]} to ${names.at(-1)}` : ''}`)
}

function invalid(expression: string, what: string): BrokerError {
  return new BrokerError('INVALID_CRON', `The expression "${expression}" ${what}`)
}
