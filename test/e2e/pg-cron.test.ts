import t from 'tap'
import { Pool } from '../../server/src/db/pool.js'
import { installPgCron, pgCronStatus, removePgCron, syncPgCron } from '../../server/src/schedules/pg-cron.js'
import { schedulerState } from '../../server/src/schedules/leadership.js'
import { testBroker } from '../helpers/broker.js'
import { reproq } from '../helpers/cli.js'
import { testDatabase } from '../helpers/database.js'
import { givenSchedule, scheduleRow, slotsOf } from '../helpers/given-schedules.js'
import { misplaced } from '../helpers/given.js'
import { noPgCron, pgCronDatabase } from '../helpers/pg-cron-postgres.js'
import { until } from '../helpers/wait.js'

t.test('where there is no pg_cron, installing it says what is missing and changes nothing', async (t) => {
  const { url } = await testDatabase(t)
  const { code, stderr } = await reproq(t, ['schedules', 'pg-cron', 'install', '--database-url', url], { cwd: t.testdir() })
  t.equal(code, 1)
  t.match(stderr, /pg_cron/)
  t.match(stderr, /shared_preload_libraries/)
  const db = new Pool(url, 1)
  t.teardown(() => db.close())
  t.match(await schedulerState(db), { mode: 'broker' })
  t.match(await pgCronStatus(db), { mode: 'broker', jobs: [] })
})

t.test('a real pg_cron', { skip: noPgCron() ?? false }, async (t) => {
  const database = await pgCronDatabase(t)
  const others = { others: database.pool }
  const db = new Pool(database.url, 2)
  t.teardown(() => db.close())
  const later = new Date(Date.now() + 86_400_000)
  const states = async () => Object.fromEntries((await pgCronStatus(db)).jobs.map(({ name, job, schedule, state }) => [name ?? job, `${schedule} ${state}`]))
  const { broker } = await testBroker(t, { lookMs: 600_000, schedulerLeaseMs: 600_000 }, database)
  const scheduler: string[] = []
  broker.events.on('scheduler.changed', ({ mode, leads }) => scheduler.push(`${mode} ${leads}`))

  await givenSchedule(others, 'tick', { cron_expr: '* * * * *', next_run_at: later })
  await givenSchedule(others, "it's a / long name", { cron_expr: '*/20 0-6 1,15 jan,JUL mon', next_run_at: later })
  await givenSchedule(others, 'x'.repeat(80), { cron_expr: '@weekly', next_run_at: later })
  await givenSchedule(others, 'zoned', { cron_expr: '0 5 * * *', reproq_time_zone: 'Europe/Berlin', next_run_at: later })
  await givenSchedule(others, 'paused', { enabled: false })

  await t.test('install makes a job for each schedule it can fire, by the names of Reproq; brokers stand still', async (t) => {
    const { code, stderr } = await reproq(t, ['schedules', 'pg-cron', 'install', '--database-url', database.url], { cwd: t.testdir() })
    t.equal(code, 0, stderr)
    t.match(stderr, /is: pg_cron; pg_cron reads its jobs in GMT[^]*1 of the schedules fire only with a broker/)
    t.strictSame(await states(), {
      tick: '* * * * * in_step',
      "it's a / long name": '0,20,40 0,1,2,3,4,5,6 1,15 1,7 1 in_step',
      ['x'.repeat(80)]: '0 0 * * 0 in_step',
      zoned: '0 5 * * * not_covered',
    })
    const { rows } = await database.pool.query<{ jobname: string }>('SELECT jobname, command FROM cron.job ORDER BY 1')
    t.match(rows, [
      { jobname: 'reproq_periodic_it_s_a_long_name', command: "SELECT reproq_enqueue_periodic_task('it''s a / long name');" },
      { jobname: 'reproq_periodic_tick', command: "SELECT reproq_enqueue_periodic_task('tick');" },
      { jobname: /^reproq_periodic_x{38}_[0-9a-f]{8}$/ },
    ])
    await until('the broker stands still', () => scheduler.includes('pg_cron false'))
    await database.pool.query(`UPDATE periodic_tasks SET next_run_at = now() WHERE name = 'zoned'`)
    t.match(await scheduleRow(others, 'zoned'), { last_run_at: null })
  })

  await t.test('changes of schedules are followed at once', async (t) => {
    await givenSchedule(others, 'new', { cron_expr: '5 4 * * *', next_run_at: later })
    await database.pool.query(`UPDATE periodic_tasks SET cron_expr = '6 4 * * *' WHERE name = 'x' || repeat('x', 79)`)
    await database.pool.query(`UPDATE periodic_tasks SET enabled = true WHERE name = 'paused'`)
    await database.pool.query(`UPDATE periodic_tasks SET enabled = false WHERE name = 'new'`)
    await database.pool.query(`DELETE FROM periodic_tasks WHERE name LIKE 'it%'`)
    t.strictSame(await states(), { tick: '* * * * * in_step', ['x'.repeat(80)]: '6 4 * * * in_step', paused: '0,5,10,15,20,25,30,35,40,45,50,55 * * * * in_step', zoned: '0 5 * * * not_covered' })
    t.match((await scheduleRow(others, 'x'.repeat(80))).next_run_at.toISOString(), /T04:06:00/, 'and planned anew')
    t.equal((await scheduleRow(others, 'paused')).reproq_replan, false)
  })

  await t.test('jobs that somebody else changed are seen, and brought in step', async (t) => {
    await database.pool.query(`SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = 'reproq_periodic_paused'`)
    await database.pool.query(`SELECT cron.schedule('stray', '* * * * *', 'SELECT reproq_enqueue_periodic_task(''gone'');'), cron.schedule('own', '1 1 1 1 *', 'SELECT 1')`)
    t.match(await states(), { paused: / missing$/, stray: '* * * * * stray' })
    await syncPgCron(db)
    t.match(await states(), { paused: / in_step$/, stray: undefined })
    t.equal((await database.pool.query(`SELECT FROM cron.job WHERE jobname = 'own'`)).rowCount, 1, 'jobs of others stay')
  })

  await t.test('it fires a slot, once, and the row moves on for everybody', async (t) => {
    // The only one that can be waited for: pg_cron looks when a minute begins, not earlier.
    const due = new Date(Math.ceil((Date.now() + 2_000) / 60_000) * 60_000)
    await database.pool.query(`UPDATE periodic_tasks SET next_run_at = $1 WHERE name = 'tick'`, [due])
    await until('pg_cron fires', async () => (await slotsOf(others, 'tick')).length > 0, 90_000)
    t.strictSame(await slotsOf(others, 'tick'), [due.toISOString().replace('.000', '')])
    await database.pool.query(`SELECT reproq_enqueue_periodic_task('tick')`)
    t.equal((await slotsOf(others, 'tick')).length, 1, 'called again it does nothing')
    const row = await scheduleRow(others, 'tick')
    t.strictSame([row.last_run_at?.getTime(), row.next_run_at.getTime()], [due.getTime(), due.getTime() + 60_000])
    t.match((await database.pool.query('SELECT fired_by FROM reproq_firings')).rows, [{ fired_by: 'pg_cron' }])
    t.strictSame(await misplaced(database.pool), [])
  })

  await t.test('remove takes the jobs away, and brokers fire again', async (t) => {
    await removePgCron(db)
    t.strictSame((await database.pool.query('SELECT jobname FROM cron.job')).rows, [{ jobname: 'own' }])
    await until('the broker fires what is due', async () => (await scheduleRow(others, 'zoned')).last_run_at !== null)
    t.match(scheduler.at(-1), 'broker true')
    await givenSchedule(others, 'after', { next_run_at: later })
    t.strictSame((await database.pool.query('SELECT jobname FROM cron.job')).rows, [{ jobname: 'own' }], 'and nothing follows any more')
    await t.rejects(syncPgCron(db), { code: 'PG_CRON_UNAVAILABLE', message: /"broker"/ })
  })

  await t.test('what manage.py puts in the place of the function is put right by the next install', async (t) => {
    await database.pool.query(`CREATE OR REPLACE FUNCTION reproq_enqueue_periodic_task(task_name TEXT) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN RAISE 'ambiguous'; END $$`)
    await installPgCron(db)
    await t.resolves(database.pool.query(`SELECT reproq_enqueue_periodic_task('tick')`))
  })
})
