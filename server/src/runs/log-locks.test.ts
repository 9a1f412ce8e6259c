import t from 'tap'
import { givenDatabase, givenForeignRun, givenLeased, givenSession, rowOf } from '../../../test/helpers/given.js'
import { until } from '../../../test/helpers/wait.js'
import { reconcile } from '../sessions/sessions.js'
import { cancel } from './cancel.js'
import { append } from './logs.js'
import { startOperation, stepOperation } from './operation.js'
import { requeue } from './requeue.js'

const BOUND_MS = 10_000

t.test('output on its way to a run keeps nobody from cancelling, retrying or reconciling it', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const [first, second] = [await givenLeased(db, session), await givenLeased(db, session)]
  const dead = await givenForeignRun(others, { status: 'FAILED' })
  const storing = await others.connect()
  await storing.query('BEGIN')
  await storing.query(`INSERT INTO reproq_logs (result_id, attempt, seq, stream, text) SELECT id, 1, 1, 'stdout', 'x' FROM unnest($1::bigint[]) id`, [[first.run, second.run, dead]])
  const { id } = await startOperation(db, 'cancel', { status: 'RUNNING' }, 'test')
  const all = (async () => {
    await reconcile(db, session.sessionId, [first])
    await cancel(db, [first.run])
    await stepOperation(db, id)
    await requeue(db, [dead])
    return 'done'
  })()
  const bound = new Promise((resolve) => setTimeout(() => resolve('one of them waits for the output to be stored'), BOUND_MS).unref())
  t.equal(await Promise.race([all, bound]), 'done')
  await storing.query('COMMIT')
  storing.release()
  await all
  t.match([await rowOf(others, first.run), await rowOf(others, second.run)], [{ cancel_requested: true }, { cancel_requested: true }])
  t.match(await rowOf(others, dead), { status: 'READY' })
})

t.test('output of several runs locks them by id, in whatever order it came', async (t) => {
  const { db, others } = await givenDatabase(t)
  const [low, high] = [await givenForeignRun(others), await givenForeignRun(others)]
  const deleting = await others.connect()
  await deleting.query('BEGIN')
  await deleting.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE', [low])
  const stored = append(db, [high, low].map((run) => ({ run, attempt: 1, stream: 'stdout', seq: 1, dropped: 0, text: 'x' })))
  await until('the append waits', async () => (await others.query("SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")).rowCount === 1)
  await t.resolves(deleting.query('SELECT FROM task_runs WHERE result_id = $1 FOR UPDATE NOWAIT', [high]))
  await deleting.query('COMMIT')
  deleting.release()
  t.same((await stored).toSorted(), [low, high].toSorted())
})
