import t from 'tap'
import { givenDatabase } from '../../../test/helpers/given.js'
import { preview, timetable } from './cron.js'

/** Instants by hand from the zones' rules. Each row: expression, zone, from when, what comes next. */
const KNOWN: [expression: string, zone: string, from: string, next: string[]][] = [
  // Berlin, 29 March 2026: 02:00 becomes 03:00, at 01:00Z. 25 October: 03:00 becomes 02:00, at 01:00Z.
  ['30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', ['2026-03-29T01:00:00Z', '2026-03-30T00:30:00Z']],
  ['0,30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', ['2026-03-29T01:00:00Z', '2026-03-30T00:00:00Z', '2026-03-30T00:30:00Z']],
  ['0 2,3 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', ['2026-03-29T01:00:00Z', '2026-03-30T00:00:00Z']],
  ['30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', ['2026-10-25T00:30:00Z', '2026-10-26T01:30:00Z']],
  ['0 3 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', ['2026-10-25T02:00:00Z', '2026-10-26T02:00:00Z']],
  ['*/30 * * * *', 'Europe/Berlin', '2026-03-29T00:15:00Z', ['2026-03-29T00:30:00Z', '2026-03-29T01:00:00Z', '2026-03-29T01:30:00Z']],
  ['*/30 * * * *', 'Europe/Berlin', '2026-10-25T00:15:00Z', ['2026-10-25T00:30:00Z', '2026-10-25T01:00:00Z', '2026-10-25T01:30:00Z', '2026-10-25T02:00:00Z']],
  ['*/30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', ['2026-03-30T00:00:00Z', '2026-03-30T00:30:00Z']],
  ['@daily', 'Europe/Berlin', '2026-10-24T12:00:00Z', ['2026-10-24T22:00:00Z', '2026-10-25T23:00:00Z']],
  // New York, 8 March 2026: 02:00 becomes 03:00, at 07:00Z. 1 November: 02:00 becomes 01:00, at 06:00Z.
  ['30 2 * * *', 'America/New_York', '2026-03-07T12:00:00Z', ['2026-03-08T07:00:00Z', '2026-03-09T06:30:00Z']],
  ['30 1 * * *', 'America/New_York', '2026-10-31T12:00:00Z', ['2026-11-01T05:30:00Z', '2026-11-02T06:30:00Z']],
  ['@hourly', 'America/New_York', '2026-11-01T04:30:00Z', ['2026-11-01T05:00:00Z', '2026-11-01T06:00:00Z', '2026-11-01T07:00:00Z']],
  // Lord Howe moves by half an hour. 5 April 2026: 02:00 becomes 01:30, at 15:00Z of the 4th. 4 October: 02:00 becomes 02:30, at 15:30Z of the 3rd.
  ['45 1 * * *', 'Australia/Lord_Howe', '2026-04-04T00:00:00Z', ['2026-04-04T14:45:00Z', '2026-04-05T15:15:00Z']],
  ['15 2 * * *', 'Australia/Lord_Howe', '2026-10-03T00:00:00Z', ['2026-10-03T15:30:00Z', '2026-10-04T15:15:00Z']],
  // Day of month OR day of week when both are restricted, AND when one is an asterisk.
  ['0 0 13 * 5', 'UTC', '2026-04-03T12:00:00Z', ['2026-04-10T00:00:00Z', '2026-04-13T00:00:00Z', '2026-04-17T00:00:00Z']],
  ['0 0 13 * ?', 'UTC', '2026-04-03T12:00:00Z', ['2026-04-13T00:00:00Z', '2026-05-13T00:00:00Z']],
  ['0 0 ? * fri', 'UTC', '2026-04-03T12:00:00Z', ['2026-04-10T00:00:00Z', '2026-04-17T00:00:00Z']],
  ['0 0 */10 * 1', 'UTC', '2026-04-01T12:00:00Z', ['2026-04-06T00:00:00Z', '2026-04-11T00:00:00Z', '2026-04-13T00:00:00Z']],
  ['0 12 * * 5-7', 'UTC', '2026-04-03T12:00:00Z', ['2026-04-04T12:00:00Z', '2026-04-05T12:00:00Z', '2026-04-10T12:00:00Z']],
  ['0 12 * * 7', 'UTC', '2026-04-03T12:00:00Z', ['2026-04-05T12:00:00Z', '2026-04-12T12:00:00Z']],
  ['0 0 29 feb *', 'UTC', '2097-01-01T00:00:00Z', ['2104-02-29T00:00:00Z', '2108-02-29T00:00:00Z']],
  ['50/4 9 * JAN-mar Mon-Fri/2', 'UTC', '2026-01-01T00:00:00Z', ['2026-01-02T09:50:00Z', '2026-01-02T09:54:00Z', '2026-01-02T09:58:00Z', '2026-01-05T09:50:00Z']],
  ['15 30 12 * * *', 'UTC', '2026-01-01T00:00:00Z', ['2026-01-01T12:30:15Z', '2026-01-02T12:30:15Z']],
  ['*/20 * * * * *', 'UTC', '2026-01-01T00:00:05Z', ['2026-01-01T00:00:20Z', '2026-01-01T00:00:40Z', '2026-01-01T00:01:00Z']],
  ['TZ=Asia/Kolkata 0 9 * * *', 'UTC', '2026-01-01T00:00:00Z', ['2026-01-01T03:30:00Z']],
  ['CRON_TZ=Europe/Berlin @weekly', 'UTC', '2026-07-01T00:00:00Z', ['2026-07-04T22:00:00Z']],
  ['@monthly', 'UTC', '2026-01-15T00:00:00Z', ['2026-02-01T00:00:00Z', '2026-03-01T00:00:00Z']],
  ['@yearly', 'UTC', '2026-01-15T00:00:00Z', ['2027-01-01T00:00:00Z']],
  ['@every 1h30m', 'UTC', '2026-01-01T00:10:00Z', ['2026-01-01T01:40:00Z', '2026-01-01T03:10:00Z']],
]

t.test('expressions fire at the instants that the calendar and the zones say', async (t) => {
  for (const [expression, zone, from, next] of KNOWN) {
    t.strictSame(preview(expression, zone, next.length, Date.parse(from)).map((ms) => new Date(ms).toISOString().replace('.000', '')), next, `${expression} in ${zone}`)
  }
})

t.test('the last instant of a span is the one that going forward ends with, also where the clock changes', async (t) => {
  for (const [expression, zone, from] of KNOWN.filter(([expression]) => !/@yearly|29 feb|\*\/20/.test(expression))) {
    const start = Date.parse(from)
    const { next, last } = timetable(expression, zone)
    t.equal(last(start, next(start) - 1_000), undefined, `${expression}: nothing before the first`)
    for (const hours of [1, 5, 26, 49, 24 * 40]) {
      const until = start + hours * 3_600_000 + 500
      let found: number | undefined
      for (let at = next(start); at <= until; at = next(at)) found = at
      t.equal(last(start, until), found, `${expression} in ${zone}, ${hours} h`)
    }
  }
})

t.test('what is no expression is refused, by field and value', async (t) => {
  const rows: [string, RegExp][] = [
    ['', /has 0 fields; it takes 5/],
    ['* * * *', /has 4 fields/],
    ['60 * * * *', /"60" as minute: it takes 0 to 59/],
    ['* 24 * * *', /"24" as hour: it takes 0 to 23/],
    ['* * 0 * *', /"0" as day of month: it takes 1 to 31/],
    ['* * * 13 *', /"13" as month: it takes 1 to 12 or jan to dec/],
    ['* * * janfeb *', /"janfeb" as month/],
    ['* * * * 8', /"8" as day of week: it takes 0 to 7 or sun to sat/],
    ['* * * * monday', /"monday" as day of week/],
    ['*/0 * * * *', /"\*\/0" as minute: a step/],
    ['5-1 * * * *', /"5-1" as minute: the range ends before it begins/],
    ['1,,2 * * * *', /"" as minute/],
    ['/5 * * * *', /"\/5" as minute/],
    ['1-2-3 * * * *', /"1-2-3" as minute/],
    ['5 L * * *', /"L" as hour/],
    ['0 0 15W * *', /"15W" as day of month/],
    ['0 0 * * 5#2', /"5#2" as day of week/],
    ['61 * * * * *', /"61" as second/],
    ['0 0 30 2 *', /no month has/],
    ['@fortnightly', /@fortnightly.*@hourly/],
    ['@every 10ms', /@every/],
    ['@every 0s', /1s/],
    ['@every', /@every/],
  ]
  for (const [expression, message] of rows) t.throws(() => timetable(expression), { code: 'INVALID_CRON', message }, expression)
  for (const zone of ['Mars/Olympus', 'Local']) t.throws(() => timetable(`TZ=${zone} 0 0 * * *`), { code: 'INVALID_TIME_ZONE', message: new RegExp(`no time zone "${zone}"`) })
  t.throws(() => timetable('0 0 * * *', 'Berlin'), { code: 'INVALID_TIME_ZONE', message: /"Berlin"/ })
})

interface Field {
  text: string
  values: Set<number>
  star: boolean
}

const pick = (low: number, high: number) => low + Math.floor(Math.random() * (high - low + 1))

/** A field and the values it means, made together, so that nothing here has to read one. */
function randomField(low: number, high: number, names?: string[]): Field {
  const say = (value: number) => (names && Math.random() < 0.3 ? (names[value - low] as string) : String(value))
  if (Math.random() < 0.35) return { text: Math.random() < 0.8 ? '*' : '?', values: new Set(range(low, high, 1)), star: true }
  const parts = Array.from({ length: pick(1, 3) }, () => {
    const from = pick(low, high)
    const to = pick(from, high)
    const step = pick(2, 9)
    return [
      { text: say(from), values: [from] },
      { text: `${say(from)}-${say(to)}`, values: range(from, to, 1) },
      { text: `${from}-${to}/${step}`, values: range(from, to, step) },
      { text: `*/${step}`, values: range(low, high, step) },
      { text: `${from}/${step}`, values: range(from, high, step) },
    ][pick(0, 4)] as { text: string; values: number[] }
  })
  return { text: parts.map(({ text }) => text).join(','), values: new Set(parts.flatMap(({ values }) => values)), star: false }
}

function range(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, at) => from + at * step)
}

/** By looking at every minute. */
function nextByLooking([minute, hour, day, month, weekday]: [Field, Field, Field, Field, Field], afterMs: number): number | undefined {
  for (let at = Math.floor(afterMs / 60_000) * 60_000 + 60_000; at < afterMs + 400 * 86_400_000; ) {
    const date = new Date(at)
    const byDay = day.values.has(date.getUTCDate())
    const byWeekday = weekday.values.has(date.getUTCDay())
    const dayFits = day.star || weekday.star ? byDay && byWeekday : byDay || byWeekday
    if (!dayFits || !month.values.has(date.getUTCMonth() + 1)) at = Math.floor(at / 86_400_000) * 86_400_000 + 86_400_000
    else if (hour.values.has(date.getUTCHours()) && minute.values.has(date.getUTCMinutes())) return at
    else at += 60_000
  }
  return undefined
}

t.test('random expressions mean in TypeScript and in SQL what looking at every minute finds', async (t) => {
  const { others } = await givenDatabase(t)
  let checked = 0
  const wrong: unknown[] = []
  while (checked < 300) {
    const fields: [Field, Field, Field, Field, Field] = [
      randomField(0, 59),
      randomField(0, 23),
      randomField(1, 31),
      randomField(1, 12, ['jan', 'Feb', 'MAR', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']),
      randomField(0, 6, ['sun', 'MON', 'Tue', 'wed', 'thu', 'fri', 'sat']),
    ]
    const expression = fields.map(({ text }) => text).join(' ')
    const from = Date.UTC(2026, pick(0, 35), pick(1, 28), pick(0, 23), pick(0, 59), pick(0, 59))
    const expected = nextByLooking(fields, from)
    if (expected === undefined) continue
    checked++
    const { rows } = await others.query<{ next: Date }>('SELECT reproq_cron_next($1, NULL, $2) AS next', [expression, new Date(from)])
    const found = [timetable(expression).next(from), rows[0]?.next?.getTime()]
    if (found.some((ms) => ms !== expected)) wrong.push({ expression, from: new Date(from), expected: new Date(expected), found })
  }
  t.strictSame(wrong, [])
})

t.test('SQL leaves to a broker what only that can fire, and refuses what is no expression', async (t) => {
  const { others } = await givenDatabase(t)
  const next = async (expression: string, zone: string | null = null) => (await others.query<{ next: Date | null }>(`SELECT reproq_cron_next($1, $2, '2026-01-01T00:00:00Z') AS next`, [expression, zone])).rows[0]?.next?.toISOString() ?? null
  for (const expression of ['*/5 * * * * *', '@every 5m', 'TZ=Europe/Berlin 0 0 * * *', '60 * * * *', '* * * janfeb *', '* * * * 8', '*/0 * * * *', '5-1 * * * *', '', '0 0 30 2 *', '99999999999 * * * *']) t.equal(await next(expression), null, expression)
  t.equal(await next('0 5 * * *', 'Europe/Berlin'), null)
  t.equal(await next('0 5 * * *', 'UTC'), '2026-01-01T05:00:00.000Z')
  t.equal(await next('TZ=UTC 0 5 * * 7'), '2026-01-04T05:00:00.000Z')
  t.equal(await next('@weekly'), '2026-01-04T00:00:00.000Z')
})
