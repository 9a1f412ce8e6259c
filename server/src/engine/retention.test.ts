import t from 'tap'
import { givenDatabase, givenForeignRun, statusOf } from '../../../test/helpers/given.js'
import { loadConfig } from '../config.js'
import { continueOperations } from './operations.js'
import { keepOf, retention } from './retention.js'
import { findOperation, startOperation } from '../runs/operation.js'

const never = new AbortController().signal

t.test('without settings nothing is deleted; with them, in hours since the end', async (t) => {
  const { db, others } = await givenDatabase(t)
  const old = new Date(Date.now() - 90 * 60_000)
  const over = (status: string) => givenForeignRun(others, { status, created_at: old, updated_at: old, finished_at: old })
  const [successful, failed] = [await over('SUCCESSFUL'), await over('FAILED')]
  await others.query(`INSERT INTO reproq_workers (worker_id, last_seen_at) VALUES ('go-dead', now() - interval '25 h')`)
  const turn = async (settings: Record<string, string>, stopping = never) => retention({ pool: db, config: loadConfig({}, settings), stopping }).runOnce()

  t.strictSame(keepOf(loadConfig({}, {})), {})
  await turn({})
  t.strictSame([await statusOf(others, successful), await statusOf(others, failed)], ['SUCCESSFUL', 'FAILED'])
  t.strictSame((await others.query('SELECT FROM reproq_workers')).rows, [], 'a day by default')
  t.strictSame(keepOf(loadConfig({}, { REPROQ_KEEP_SUCCESSFUL_HOURS: '1', REPROQ_KEEP_FAILED_HOURS: '2' })), { SUCCESSFUL: 3_600, FAILED: 7_200 })
  await turn({ REPROQ_KEEP_SUCCESSFUL_HOURS: '1', REPROQ_KEEP_FAILED_HOURS: '2' }, AbortSignal.abort())
  t.equal(await statusOf(others, successful), 'SUCCESSFUL', 'a broker that stops begins nothing')
  await turn({ REPROQ_KEEP_SUCCESSFUL_HOURS: '1', REPROQ_KEEP_FAILED_HOURS: '2' })
  await t.rejects(statusOf(others, successful))
  t.equal(await statusOf(others, failed), 'FAILED')
})

t.test('operations of brokers that are gone are gone on with, oldest first, until this one stops', async (t) => {
  const { db, others } = await givenDatabase(t)
  for (let n = 0; n < 3; n++) await givenForeignRun(others, { status: 'FAILED', finished_at: new Date(), spec_hash: `${n}` })
  const first = await startOperation(db, 'retry', { status: 'FAILED' }, 'gone')
  const second = await startOperation(db, 'cancel', { queue: 'default' }, 'gone')
  await continueOperations({ pool: db, stopping: AbortSignal.abort() })
  t.match(await findOperation(db, first.id), { status: 'RUNNING' })
  await continueOperations({ pool: db, stopping: never })
  t.match([await findOperation(db, first.id), await findOperation(db, second.id)], [{ status: 'DONE', changed: 3 }, { status: 'DONE', changed: 3 }])
})
