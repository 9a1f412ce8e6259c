import { randomUUID } from 'node:crypto'
import t from 'tap'
import { givenSchedule } from '../../../test/helpers/given-schedules.js'
import { givenDatabase } from '../../../test/helpers/given.js'
import { lead, resign, schedulerState, setMode } from './leadership.js'

t.test('of brokers that ask at once one leads, and it alone keeps it', async (t) => {
  const { db, others } = await givenDatabase(t)
  for (let round = 0; round < 20; round++) {
    const ids = Array.from({ length: 12 }, () => randomUUID())
    const leaders = (await Promise.all(ids.map(async (id) => ((await lead(db, id, 60_000)).leads ? id : undefined)))).filter(Boolean)
    t.equal(leaders.length, 1, `round ${round}`)
    t.match(await Promise.all(ids.map(async (id) => (await lead(db, id, 60_000)).leads === leaders.includes(id))), ids.map(() => true))
    // As if its time were over.
    await others.query(`UPDATE reproq_scheduler SET leader_until = now() - interval '1 ms'`)
  }
})

t.test('those who do not lead are told how long to wait, and the leader whether something is due', async (t) => {
  const given = await givenDatabase(t)
  t.match(await lead(given.db, 'a', 60_000), { mode: 'broker', leads: true, due: false })
  const waits = await lead(given.db, 'b', 60_000)
  t.match(waits, { leads: false, due: false })
  t.ok((waits.lastsMs as number) > 30_000 && (waits.lastsMs as number) <= 60_000, String(waits.lastsMs))
  await givenSchedule(given, 'due')
  t.match(await lead(given.db, 'a', 60_000), { leads: true, due: true })
  t.match(await lead(given.db, 'b', 60_000), { leads: false, due: false })
})

t.test('a leader that resigns leaves it to the next; one that does not lead resigns nothing', async (t) => {
  const { db } = await givenDatabase(t)
  await lead(db, 'a', 60_000)
  await resign(db, 'b')
  t.match(await schedulerState(db), { leader: 'a' })
  const { leaderSince } = await schedulerState(db)
  await lead(db, 'a', 60_000)
  t.equal((await schedulerState(db)).leaderSince?.getTime(), leaderSince?.getTime(), 'one that goes on leads since then')
  await resign(db, 'a')
  t.match(await schedulerState(db), { leader: null, leaderSince: null })
  t.match(await lead(db, 'b', 60_000), { leads: true })
})

t.test('where brokers are not the scheduler none leads', async (t) => {
  const { db } = await givenDatabase(t)
  await lead(db, 'a', 60_000)
  for (const mode of ['off', 'pg_cron'] as const) {
    await setMode(db, mode)
    t.match(await lead(db, 'a', 60_000), { mode, leads: false, due: false })
    t.match(await schedulerState(db), { mode, leader: null })
  }
  await setMode(db, 'broker')
  t.match(await lead(db, 'a', 60_000), { mode: 'broker', leads: true })
})

t.test('a pg_cron that keeps another time zone than UTC looks every minute', async (t) => {
  const given = await givenDatabase(t)
  await givenSchedule(given, 'nightly', { cron_expr: '30 2 * * *' })
  const client = await given.others.connect()
  const wanted = async () => (await client.query<{ schedule: string }>('SELECT schedule FROM reproq_pg_cron_wanted()')).rows.map(({ schedule }) => schedule)
  t.strictSame(await wanted(), ['30 2 * * *'])
  for (const [zone, schedule] of [['UTC', '30 2 * * *'], ['Europe/Berlin', '* * * * *']] as const) {
    await client.query(`SELECT set_config('cron.timezone', $1, false)`, [zone])
    t.strictSame(await wanted(), [schedule], zone)
  }
  client.release(true)
})
