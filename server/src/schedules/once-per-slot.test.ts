import type pg from 'pg'
import t from 'tap'
import { givenSchedule } from '../../../test/helpers/given-schedules.js'
import { givenDatabase, misplaced, type Given } from '../../../test/helpers/given.js'
import { Pool } from '../db/pool.js'
import { fireDue } from './fire.js'

const SCHEDULES = 25
const SLOTS = 3_000
/** Fires half a year from now, so that of the slots in the last weeks none was missed for another. */
const HALF_A_YEAR = `0 0 1 ${((new Date().getUTCMonth() + 6) % 12) + 1} *`

/** What Reproq's beat does: due rows locked, a run for each, the row moved on, all in one transaction of several statements. */
async function beat(client: pg.PoolClient): Promise<void> {
  await client.query('BEGIN')
  const { rows } = await client.query<{ name: string; slot: string }>(
    `SELECT name, to_char(next_run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS slot FROM periodic_tasks WHERE enabled AND next_run_at <= now() LIMIT 3 FOR UPDATE SKIP LOCKED`,
  )
  for (const { name, slot } of rows) {
    const spec = JSON.stringify({ task_path: 'app.tasks.tick', args: [], kwargs: {}, periodic_name: name, scheduled_at: slot })
    await client.query(
      `INSERT INTO task_runs (backend_alias, queue_name, priority, run_after, spec_json, spec_hash, task_path, status, enqueued_at)
       VALUES ('default', 'beat', 0, $1, $2::jsonb, encode(sha256(convert_to($2::text, 'UTF8')), 'hex'), 'app.tasks.tick', 'READY', now())`,
      [slot, spec],
    )
    await client.query(`UPDATE periodic_tasks SET last_run_at = next_run_at, next_run_at = '2099-01-01', updated_at = now() WHERE name = $1`, [name])
  }
  await client.query('COMMIT')
}

/** Gives schedules that have been fired a new slot in the past, each a second of its own, and notes it. */
const MOVE = `
  WITH moved AS (
    UPDATE periodic_tasks p SET next_run_at = date_trunc('second', now()) - interval '20 days' + nextval('slot_seconds') * interval '1 s'
     WHERE name IN (SELECT name FROM periodic_tasks WHERE next_run_at > now() ORDER BY random() LIMIT 10 FOR UPDATE SKIP LOCKED) RETURNING name, next_run_at
  )
  INSERT INTO moves SELECT name, to_char(next_run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') FROM moved`

async function move(given: Given): Promise<void> {
  for (let moved = 0; moved < SLOTS; ) moved += (await given.others.query(MOVE)).rowCount ?? 0
}

t.test('three brokers, two beats and two sessions of pg_cron at once make one run of each slot', async (t) => {
  const given = await givenDatabase(t)
  await given.others.query('CREATE TABLE moves (name text, slot text); CREATE SEQUENCE slot_seconds')
  for (let at = 0; at < SCHEDULES; at++) await givenSchedule(given, `s${at}`, { cron_expr: HALF_A_YEAR, next_run_at: new Date('2099-01-01') })
  const brokers = [1, 2, 3].map(() => new Pool(given.url, 1))
  t.teardown(() => Promise.all(brokers.map((db) => db.close())))
  const clients = await Promise.all([1, 2, 3, 4].map(() => given.others.connect()))
  let moving = true
  const loop = async (work: () => Promise<unknown>) => {
    while (moving) await work()
  }
  const fire = Promise.all([
    ...brokers.map((db) => loop(() => fireDue(db, 7))),
    ...clients.slice(0, 2).map((client) => loop(() => beat(client))),
    ...clients.slice(2).map((client, at) => loop(() => client.query('SELECT reproq_enqueue_periodic_task($1)', [`s${Math.floor(Math.random() * SCHEDULES) % (SCHEDULES - at)}`]))),
  ])
  await move(given)
  moving = false
  await fire
  while ((await fireDue(given.db, 100)).again);
  for (const client of clients) client.release()

  const { rows } = await given.others.query<{ fired_by: string; runs: number }>(
    `SELECT coalesce(f.fired_by, t.queue_name) AS fired_by, count(*)::int AS runs FROM task_runs t LEFT JOIN reproq_firings f USING (result_id) GROUP BY 1 ORDER BY 1`,
  )
  t.comment(JSON.stringify(rows))
  const wrong = await given.others.query(`
    SELECT m.name, m.slot, count(t.result_id)::int AS runs FROM moves m
      LEFT JOIN task_runs t ON t.spec_json->>'periodic_name' = m.name AND t.spec_json->>'scheduled_at' = m.slot GROUP BY 1, 2 HAVING count(t.result_id) <> 1`)
  const totals = await given.others.query<{ moves: number; runs: number }>('SELECT (SELECT count(*)::int FROM moves) AS moves, (SELECT count(*)::int FROM task_runs) AS runs')
  t.ok((totals.rows[0]?.moves ?? 0) >= SLOTS, 'so many were checked')
  t.strictSame(wrong.rows, [], 'slots with none or several')
  t.equal(totals.rows[0]?.runs, totals.rows[0]?.moves, 'and no run is of another slot')
  t.strictSame(await misplaced(given.others), [])
})
