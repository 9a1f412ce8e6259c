import t from 'tap'
import { Reproq } from '../../sdk-ts/src/index.js'
import { brokerProcess, givenToken } from '../helpers/broker.js'
import { testDatabase } from '../helpers/database.js'
import { givenSchedule, slotsOf } from '../helpers/given-schedules.js'
import { until } from '../helpers/wait.js'

/** Each second a slot, and none may be missed. */
const EVERY_SECOND = { cron_expr: '* * * * * *', reproq_missed: 'all' }

t.test('when the broker that fires is killed another goes on, and no slot is lost or fired twice', async (t) => {
  const database = await testDatabase(t)
  const token = await givenToken(database.url, ['admin'])
  const quick = { schedulerLeaseMs: 900 }
  const brokers = [await brokerProcess(t, database.url, quick), await brokerProcess(t, database.url, quick), await brokerProcess(t, database.url, quick)]
  const leads = async (url: string) => (await new Reproq({ url, token }).schedules.list()).scheduler
  const others = { others: database.pool }
  const next_run_at = new Date(Math.ceil(Date.now() / 1_000) * 1_000)
  for (const name of ['a', 'b', 'c']) await givenSchedule(others, name, { ...EVERY_SECOND, next_run_at })

  const leaders = new Set<string>()
  for (let kills = 0; kills < 2; kills++) {
    const leader = await until('one leads', async () => {
      for (const broker of brokers.filter(({ child }) => child.exitCode === null && child.signalCode === null)) if ((await leads(broker.url)).here) return broker
      return undefined
    })
    leaders.add((await leads(leader.url)).leader as string)
    const before = (await slotsOf(others, 'a')).length
    await until('it fires', async () => (await slotsOf(others, 'a')).length > before + 1)
    leader.child.kill('SIGKILL')
    await leader.exited
  }
  const fired = (await slotsOf(others, 'a')).length
  await until('the last one fires', async () => (await slotsOf(others, 'a')).length > fired + 2)
  t.equal(leaders.size, 2, 'one after the other')

  await database.pool.query(`UPDATE periodic_tasks SET enabled = false`)
  for (const name of ['a', 'b', 'c']) {
    const times = (await slotsOf(others, name)).map((slot) => Date.parse(slot))
    t.strictSame(times.map((at) => at - (times[0] as number)), times.map((_, at) => at * 1_000), `${times.length} slots of ${name}`)
  }
})
