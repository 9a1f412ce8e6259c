import t from 'tap'
import { givenDatabase, givenRuns, givenSession } from '../../../test/helpers/given.js'
import { until } from '../../../test/helpers/wait.js'
import { Events, type EventMap } from '../events.js'
import { lease } from '../runs/lease.js'
import { vacuum } from './vacuum.js'

t.test('the narrow tables are vacuumed after many runs, and only then', async (t) => {
  const { db, others } = await givenDatabase(t)
  await givenRuns(db, {}, {})
  await lease(db, ['default'], [await givenSession(db)], 60_000)
  const vacuums = async () => (await others.query<{ vacuums: string }>(`SELECT vacuum_count::text AS vacuums FROM pg_stat_user_tables WHERE relname = 'reproq_ready'`)).rows[0]?.vacuums
  const events = new Events()
  const chore = vacuum(db, events, 3)
  const settled: EventMap['run.settled'] = { runId: '1', queue: 'default', task: 't', status: 'SUCCESSFUL', attempt: 1, workerId: undefined, cause: 'ok', delayMs: 0, wallMs: 0 }
  events.emit('run.settled', settled)
  events.emit('run.settled', settled)
  await chore.runOnce()
  t.equal(await vacuums(), '0', 'not yet')
  events.emit('run.settled', settled)
  await chore.runOnce()
  await until('vacuumed', async () => (await vacuums()) === '1')
  await chore.runOnce()
  const { rows } = await others.query('SELECT count(*)::int AS left FROM reproq_ready')
  t.strictSame(rows, [{ left: 1 }], 'what waits is untouched')
})
