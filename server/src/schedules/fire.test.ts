import { readFileSync } from 'node:fs'
import t from 'tap'
import { emptyDatabase } from '../../../test/helpers/database.js'
import { givenSchedule, scheduleRow, slotsOf } from '../../../test/helpers/given-schedules.js'
import { givenDatabase, givenLeased, givenSession, misplaced, placesOf, rowOf, type Given } from '../../../test/helpers/given.js'
import { migrate } from '../db/migrate.js'
import { Pool } from '../db/pool.js'
import { leaseGated } from '../runs/lease.js'
import { succeed } from '../runs/succeed.js'
import { fireDue, type Fired } from './fire.js'
import { setMode } from './leadership.js'
import { enableSchedule, listFirings, triggerSchedule } from './schedules.js'

const minutesAgo = (minutes: number) => new Date(Math.floor(Date.now() / 60_000) * 60_000 - minutes * 60_000)

/** Until nothing is due. */
async function fireAll({ db }: Pick<Given, 'db'>): Promise<Fired[]> {
  const all: Fired[] = []
  for (;;) {
    const { fired, again } = await fireDue(db, 100)
    all.push(...fired)
    if (!again) return all
  }
}

t.test('a due row that Django wrote makes one ready run, with the spec and the hash of its beat, and moves on', async (t) => {
  const given = await givenDatabase(t)
  // The instant and the hash: made apart, by Go's rules, of the text below.
  await givenSchedule(given, 'tick', { cron_expr: '0 0 1 1 *', next_run_at: new Date('2026-01-01T00:00:00Z'), payload_json: '{"args": [1.0, "<a & b>"], "kwargs": {"deep": {"x": [1, 2]}}}' })
  const fired = await fireAll(given)
  t.match(fired, [{ name: 'tick', outcome: 'fired', error: null }])
  const run = fired[0]?.run as string
  const expected =
    '{"task_path":"app.tasks.tick","args":[1.0,"\\u003ca \\u0026 b\\u003e"],"kwargs":{"deep":{"x":[1,2]}},"queue_name":"default","priority":0,"concurrency_key":null,"concurrency_limit":0,' +
    '"periodic_name":"tick","scheduled_at":"2026-01-01T00:00:00Z","exec":{"timeout_seconds":900,"max_attempts":3}}'
  const { rows } = await given.others.query(`SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex') AS hash`, [expected])
  t.match(await rowOf(given.others, run), { status: 'READY', task_path: 'app.tasks.tick', queue_name: 'default', max_attempts: 3, timeout_seconds: 900, spec_hash: rows[0].hash, spec_json: JSON.parse(expected), backend_alias: 'default' })
  t.strictSame(await placesOf(given.others, run), ['ready'])
  const row = await scheduleRow(given, 'tick')
  t.strictSame([row.last_run_at?.toISOString(), row.next_run_at.toISOString(), row.reproq_error], ['2026-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z', null])
  t.match(await listFirings(given.db, 'tick', 10), [{ run, status: 'READY', firedBy: 'broker' }])
  t.strictSame(await misplaced(given.others), [])
})

t.test('odd rows of Reproq count as it counts them: no queue, no attempts, payloads of each shape', async (t) => {
  const given = await givenDatabase(t)
  const shapes: [payload: string, args: unknown, kwargs: unknown][] = [['[1, 2]', [1, 2], {}], ['{"a": 1}', [], { a: 1 }], ['{"args": [3]}', [3], {}], ['{"kwargs": {"b": 2}}', [], { b: 2 }], ['{}', [], {}]]
  for (const [at, [payload]] of shapes.entries()) await givenSchedule(given, `shape-${at}`, { payload_json: payload, queue_name: '', max_attempts: -1, concurrency_key: 'k', concurrency_limit: 2, priority: 7 })
  for (const { name, run } of await fireAll(given)) {
    const [, args, kwargs] = shapes[Number(name.slice(-1))] as (typeof shapes)[number]
    t.match(await rowOf(given.others, run as string), { queue_name: 'default', max_attempts: 3, priority: 7, concurrency_key: 'k', concurrency_limit: 2, spec_json: { args, kwargs, queue_name: 'default', exec: { max_attempts: 3 } } }, name)
  }
})

for (const file of ['django-schema.sql', 'go-schema.sql']) {
  t.test(`on the tables of ${file} schedules fire from a broker and from SQL`, async (t) => {
    const { url, pool: others } = await emptyDatabase(t)
    await others.query(readFileSync(new URL(`../../../../test/compat/${file}`, import.meta.url), 'utf8'))
    await givenSchedule({ others }, 'broker')
    await migrate({ url })
    const db = new Pool(url, 2)
    t.teardown(() => db.close())
    t.match(await fireAll({ db }), [{ outcome: 'fired' }])
    await givenSchedule({ others }, 'sql')
    await others.query(`SELECT reproq_enqueue_periodic_task('sql'), reproq_enqueue_periodic_task('nobody')`)
    t.equal((await slotsOf({ others }, 'sql')).length, 1)
    t.ok((await scheduleRow({ others }, 'sql')).next_in_ms > 0, 'and it has moved on')
    t.strictSame(await misplaced(others), [])
  })
}

t.test('an absurd row is noted, and the others are fired', async (t) => {
  const given = await givenDatabase(t)
  await t.rejects(givenSchedule(given, 'forbidden', { reproq_jitter_ms: '9000000000000000000' }), { code: '23514' })
  await t.rejects(givenSchedule(given, 'forbidden', { reproq_missed_window_ms: -1 }), { code: '23514' })
  await given.others.query('ALTER TABLE periodic_tasks DROP CONSTRAINT periodic_tasks_reproq_jitter_ms_check')
  await givenSchedule(given, 'jitter', { reproq_jitter_ms: '9000000000000000000' })
  await givenSchedule(given, 'huge', { payload_json: JSON.stringify(['x'.repeat(12_000_000)]) })
  await givenSchedule(given, 'late', { cron_expr: '0 0 1 1 *', next_run_at: '9999-12-31T00:00:00Z', reproq_replan: false })
  await givenSchedule(given, 'sound')
  const fired = await fireAll(given)
  t.match(fired.find(({ name }) => name === 'sound'), { outcome: 'fired' })
  t.match((await scheduleRow(given, 'jitter')).reproq_error, /beyond the year 9999/)
  t.match(fired.find(({ name }) => name === 'huge'), { outcome: /fired|failed/ })
  t.strictSame(await fireAll(given), [], 'and is left alone')
})

t.test('missed slots: one run for the last by default, none with skip, each of the window with all', async (t) => {
  const given = await givenDatabase(t)
  const next_run_at = minutesAgo(10)
  const iso = (minutes: number) => minutesAgo(minutes).toISOString().replace('.000', '')
  const each = { cron_expr: '* * * * *', next_run_at }
  await givenSchedule(given, 'default', each)
  await givenSchedule(given, 'skip', { cron_expr: '0 0 1 1 *', next_run_at, reproq_missed: 'skip' })
  await givenSchedule(given, 'skip-late', { cron_expr: '0 0 1 1 *', next_run_at, reproq_missed: 'skip', reproq_missed_window_ms: 3_600_000 })
  await givenSchedule(given, 'all', { ...each, reproq_missed: 'all' })
  await givenSchedule(given, 'all-window', { ...each, reproq_missed: 'all', reproq_missed_window_ms: 210_000 })
  const expectedLast = iso(0)
  await fireAll(given)
  const all = await slotsOf(given, 'all')
  t.ok([[expectedLast], [iso(0)]].some((slots) => slots.join() === all.slice(-1).join()), 'up to now')
  t.ok(all.length === 11 || all.length === 12, `${all.length} slots`)
  t.strictSame(all[0], next_run_at.toISOString().replace('.000', ''))
  t.strictSame((await slotsOf(given, 'default')).length, 1)
  t.ok((await slotsOf(given, 'default'))[0]! >= expectedLast)
  t.strictSame(await slotsOf(given, 'skip'), [])
  t.ok((await scheduleRow(given, 'skip')).next_in_ms > 0)
  t.equal((await slotsOf(given, 'skip-late')).length, 1)
  const windowed = await slotsOf(given, 'all-window')
  t.ok(windowed.length === 3 || windowed.length === 4, `${windowed.length} slots in three and a half minutes`)
  for (const name of ['default', 'all', 'all-window']) t.ok((await scheduleRow(given, name)).next_in_ms > -1_000, name)
})

t.test('overlap: allow makes another run, skip makes none while one is active, queue_one keeps one waiting', async (t) => {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const runs: Record<string, number[]> = { allow: [], skip: [], queue_one: [] }
  const due = () => given.others.query(`UPDATE periodic_tasks SET next_run_at = clock_timestamp()`)
  const count = async () => {
    await due()
    await fireAll(given)
    for (const name of Object.keys(runs)) runs[name]!.push((await slotsOf(given, name)).length)
  }
  for (const overlap of Object.keys(runs)) await givenSchedule(given, overlap, { reproq_overlap: overlap, queue_name: overlap })
  await count()
  const leased = await leaseGated(given.db, ['allow', 'skip', 'queue_one'], [session, session, session], 60_000)
  t.equal(leased.runs.length, 3, 'all three run')
  await count()
  await count()
  t.match(await leaseGated(given.db, ['queue_one'], [session], 60_000), { runs: [] }, 'the one that waits does wait')
  t.match(await succeed(given.db, leased.runs.map((run) => ({ ...run, output: '1' }))), { held: [true, true, true] })
  await count()
  t.strictSame(runs, { allow: [1, 2, 3, 4], skip: [1, 1, 1, 2], queue_one: [1, 2, 2, 2] })
  t.equal((await scheduleRow(given, 'skip')).reproq_skipped, '2')
  const keys = await given.others.query(`SELECT DISTINCT queue_name, lock_key FROM task_runs WHERE lock_key IS NOT NULL`)
  t.strictSame(keys.rows, [{ queue_name: 'queue_one', lock_key: 'reproq:schedule:queue_one' }])
})

t.test('jitter puts the run somewhere between its slot and the bound', async (t) => {
  const given = await givenDatabase(t)
  const next_run_at = minutesAgo(0)
  for (let at = 0; at < 40; at++) await givenSchedule(given, `j${at}`, { cron_expr: '0 0 1 1 *', next_run_at, reproq_jitter_ms: 7_200_000 })
  const fired = await fireAll(given)
  t.equal(fired.length, 40)
  const { rows } = await given.others.query<{ late: number }>('SELECT extract(epoch FROM run_after - $1)::float8 * 1000 AS late FROM task_runs', [next_run_at])
  t.strictSame(rows.filter(({ late }) => late < 0 || late >= 7_200_000), [])
  t.ok(new Set(rows.map(({ late }) => late)).size > 30, 'not all at once')
  t.strictSame(await misplaced(given.others), [])
})

t.test('a schedule that cannot be fired is noted, stops no other, and is tried again when it is changed', async (t) => {
  const given = await givenDatabase(t)
  await givenSchedule(given, 'a-cron', { cron_expr: '61 * * * *' })
  await givenSchedule(given, 'b-zone', { reproq_time_zone: 'Mars/Olympus' })
  await givenSchedule(given, 'c-payload', { payload_json: '5' })
  await givenSchedule(given, 'd-args', { payload_json: '{"args": {}}' })
  await givenSchedule(given, 'e-task', { task_path: '' })
  await givenSchedule(given, 'f-sound')
  const outcomes = Object.fromEntries((await fireAll(given)).map(({ name, outcome }) => [name, outcome]))
  t.strictSame(outcomes, { 'a-cron': 'failed', 'b-zone': 'failed', 'c-payload': 'failed', 'd-args': 'failed', 'e-task': 'failed', 'f-sound': 'fired' })
  const errors: [string, RegExp][] = [['a-cron', /"61" as minute/], ['b-zone', /Mars/], ['c-payload', /payload_json is 5/], ['d-args', /args is \{\}/], ['e-task', /task_path_not_empty/]]
  for (const [name, message] of errors) t.match((await scheduleRow(given, name)).reproq_error, message)
  t.strictSame(await fireAll(given), [], 'they are left alone')
  await givenSchedule(given, 'g-sql', { payload_json: '7' })
  await given.others.query(`SELECT reproq_enqueue_periodic_task('g-sql')`)
  t.match((await scheduleRow(given, 'g-sql')).reproq_error, /kwargs that are number/, 'noted from SQL as well')
  await given.others.query(`UPDATE periodic_tasks SET cron_expr = '1 * * * *', next_run_at = now() WHERE name = 'a-cron'`)
  await given.others.query(`UPDATE periodic_tasks SET payload_json = '[5]' WHERE name = 'c-payload'`)
  t.match(await fireAll(given), [{ name: 'c-payload', outcome: 'fired' }, { name: 'a-cron', outcome: 'fired' }])
  t.equal((await scheduleRow(given, 'a-cron')).reproq_error, null)
})

t.test('a changed expression or zone, and a resumed schedule, are planned anew; a slot that was set by hand is kept', async (t) => {
  const given = await givenDatabase(t)
  const later = new Date(Date.now() + 3_600_000)
  for (const name of ['cron', 'zone', 'off', 'hand']) await givenSchedule(given, name, { cron_expr: '0 0 1 1 *', next_run_at: later, enabled: name !== 'off' })
  await given.others.query(`UPDATE periodic_tasks SET cron_expr = '* * * * *' WHERE name = 'cron'`)
  await given.others.query(`UPDATE periodic_tasks SET reproq_time_zone = 'Asia/Tokyo' WHERE name = 'zone'`)
  await given.others.query(`UPDATE periodic_tasks SET enabled = true WHERE name = 'off'`)
  await given.others.query(`UPDATE periodic_tasks SET cron_expr = '* * * * *', next_run_at = $1 WHERE name = 'hand'`, [later])
  await given.others.query(`UPDATE periodic_tasks SET next_run_at = next_run_at + interval '1 s' WHERE name = 'hand'`)
  t.match((await fireAll(given)).map(({ outcome }) => outcome), ['planned', 'planned', 'planned'])
  t.ok((await scheduleRow(given, 'cron')).next_in_ms <= 60_000)
  t.match((await scheduleRow(given, 'zone')).next_run_at.toISOString(), /-12-31T15:00:00/)
  t.match((await scheduleRow(given, 'off')).next_run_at.toISOString(), /-01-01T00:00:00/)
  t.equal((await scheduleRow(given, 'hand')).next_run_at.getTime(), later.getTime() + 1_000)
  // As the scheduler of a broker does it, past the triggers.
  await enableSchedule(given.db, 'cron', false)
  await given.others.query(`UPDATE periodic_tasks SET next_run_at = $1 WHERE name = 'cron'`, [minutesAgo(90)])
  await enableSchedule(given.db, 'cron', true)
  t.strictSame(await fireAll(given), [], 'what came while it was paused was not missed')
})

t.test('a row without a next slot gets it when it is written', async (t) => {
  const given = await givenDatabase(t)
  await given.others.query(`INSERT INTO periodic_tasks (name, cron_expr, task_path) VALUES ('sql', '0 0 1 1 *', 'a.b'), ('zoned', 'TZ=Asia/Tokyo 0 0 1 1 *', 'a.b')`)
  t.match((await fireAll(given)).map(({ outcome }) => outcome), ['planned', 'planned'])
  t.match((await scheduleRow(given, 'sql')).next_run_at.toISOString(), /-01-01T00:00:00/)
  t.match((await scheduleRow(given, 'zoned')).next_run_at.toISOString(), /-12-31T15:00:00/)
})

t.test('a slot is fired once, also when somebody sets the row back to it', async (t) => {
  const given = await givenDatabase(t)
  const slot = minutesAgo(5)
  await givenSchedule(given, 'back', { next_run_at: slot, cron_expr: '0 0 1 1 *' })
  t.match(await fireAll(given), [{ outcome: 'fired' }])
  await given.others.query('UPDATE periodic_tasks SET next_run_at = $1', [slot])
  t.match(await fireAll(given), [{ outcome: 'duplicate' }])
  await given.others.query('UPDATE periodic_tasks SET next_run_at = $1, last_run_at = NULL', [slot])
  await given.others.query(`SELECT reproq_enqueue_periodic_task('back')`)
  t.equal((await slotsOf(given, 'back')).length, 1, 'not from SQL either')
  t.ok((await scheduleRow(given, 'back')).next_in_ms > 0)
  // What a beat has fired is in no history of ours.
  await givenSchedule(given, 'beat', { next_run_at: slot, last_run_at: slot, cron_expr: '0 0 1 1 *' })
  t.match(await fireAll(given), [{ name: 'beat', outcome: 'duplicate' }])
})

t.test('a trigger makes a run at once, beside the slots, also of a paused schedule', async (t) => {
  const given = await givenDatabase(t)
  const later = new Date(Date.now() + 3_600_000)
  await givenSchedule(given, 'later', { next_run_at: later, enabled: false, payload_json: '[1]' })
  const runs = [await triggerSchedule(given.db, 'later'), await triggerSchedule(given.db, 'later')]
  t.not(runs[0], runs[1])
  for (const run of runs) t.strictSame(await placesOf(given.others, run), ['ready'])
  t.equal((await scheduleRow(given, 'later')).next_run_at.getTime(), later.getTime())
  await t.rejects(triggerSchedule(given.db, 'nobody'), { code: 'SCHEDULE_NOT_FOUND' })
})

t.test('the history keeps the last hundred', async (t) => {
  const given = await givenDatabase(t)
  await givenSchedule(given, 'often', { cron_expr: '* * * * *', reproq_missed: 'all', next_run_at: minutesAgo(130) })
  await fireAll(given)
  const firings = await listFirings(given.db, 'often', 1_000)
  t.equal(firings.length, 100)
  t.ok((await slotsOf(given, 'often')).length > 130)
  await given.others.query('DELETE FROM periodic_tasks')
  t.strictSame(await listFirings(given.db, 'often', 10), [])
})

t.test('in a database whose scheduler is another, a broker fires nothing', async (t) => {
  const given = await givenDatabase(t)
  await givenSchedule(given, 'tick')
  await setMode(given.db, 'off')
  t.strictSame(await fireAll(given), [])
  await given.others.query(`SELECT reproq_enqueue_periodic_task('tick')`)
  t.strictSame(await slotsOf(given, 'tick'), [], 'off is off for SQL as well')
  await setMode(given.db, 'broker')
  t.match(await fireAll(given), [{ outcome: 'fired' }])
})

t.test('runs of a schedule with our options carry them', async (t) => {
  const given = await givenDatabase(t)
  await givenSchedule(given, 'options', { reproq_timeout_ms: 1_500, reproq_retry: '{"base_ms": 5}' })
  const [fired] = await fireAll(given)
  t.match(await rowOf(given.others, fired?.run as string), { timeout_seconds: 2, reproq_retry: { base_ms: 5 }, spec_json: { exec: { timeout_seconds: 2 } } })
  t.ok(await givenLeased(given.db, await givenSession(given.db)), 'and the database goes on')
})
