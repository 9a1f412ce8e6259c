import t from 'tap'
import { givenDatabase, givenSession, statusOf } from '../../../test/helpers/given.js'
import { givenWorkflow, leaseAll, node } from '../../../test/helpers/given-workflow.js'
import { until } from '../../../test/helpers/wait.js'
import type { Db } from '../db/pool.js'
import { Events } from '../events.js'
import { succeed } from '../runs/succeed.js'
import { duesOf, type DuesContext } from './dues.js'

/** As much of it as advancing needs. */
const contextOf = (pool: Db, events: Events, failed: (error: unknown) => void) => ({ pool, events, failed: () => failed }) as unknown as DuesContext

t.test('notes are worked off until there are none, and what was moved is told', async (t) => {
  const { db, others } = await givenDatabase(t)
  const events = new Events()
  const told: string[] = []
  events.on('run.settled', ({ runId, status, cause }) => told.push(`${runId} ${status} ${cause}`))
  const { workflows } = duesOf(contextOf(db, events, (error) => t.fail(String(error))))
  const { ids } = await givenWorkflow(db, [node('a'), node('b', ['a']), node('c', ['b'])])
  await others.query(`UPDATE task_runs SET status = 'FAILED' WHERE result_id = $1`, [ids.a])
  await workflows.runOnce()
  t.strictSame(told, [`${ids.b} FAILED workflow`, `${ids.c} FAILED workflow`], 'also what only followed from that')
})

t.test('a database that is away, and a row that somebody holds, are tried again without being asked', async (t) => {
  const { db, others } = await givenDatabase(t)
  let away = true
  const flaky: Db = { query: (...args) => (away ? Promise.reject(new Error('away')) : db.query(...args)) }
  const errors: unknown[] = []
  const { workflows } = duesOf(contextOf(flaky, new Events(), (error) => errors.push(error)))
  t.teardown(() => workflows.stop())
  const { ids } = await givenWorkflow(db, [node('a'), node('b', ['a'])])
  await succeed(db, (await leaseAll(db, await givenSession(db))).map((item) => ({ ...item, output: '1' })))
  const client = await others.connect()
  await client.query('BEGIN')
  await client.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [ids.b])
  await workflows.runOnce()
  t.match(errors, [{ message: 'away' }])
  away = false
  await workflows.runOnce()
  t.equal(await statusOf(others, ids.b as string), 'WAITING', 'it is held')
  await client.query('COMMIT')
  client.release()
  await until('it is moved', async () => (await statusOf(others, ids.b as string)) === 'READY')
})
