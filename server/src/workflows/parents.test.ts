import t from 'tap'
import { givenDatabase, givenSession } from '../../../test/helpers/given.js'
import { advanceAll, givenWorkflow, leaseAll, node } from '../../../test/helpers/given-workflow.js'
import type { Leased } from '../runs/lease.js'
import { replay } from '../runs/replay.js'
import { requeue } from '../runs/requeue.js'
import { succeed } from '../runs/succeed.js'

t.test('a replay of a run that waited for others says why it has none; one of a run that did not is like any', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const { ids } = await givenWorkflow(db, [node('a'), node('b', ['a'])])
  await others.query(`UPDATE task_runs SET status = 'SUCCESSFUL'`)
  await advanceAll(db)
  await replay(db, [ids.a as string, ids.b as string])
  const reasons = (runs: Leased[]) => runs.map(({ spec, parents }) => [(JSON.parse(spec) as { parents_error?: string }).parents_error, parents])
  const runs = await leaseAll(db, session)
  const reason = `It is a replay of run ${ids.b}, which waited for others in a workflow; a replay stands alone, without what those returned`
  t.strictSame(reasons(runs), [[undefined, null], [reason, null]])
  await succeed(db, runs.map((run) => ({ ...run, output: '1' })))
  await replay(db, runs.map(({ run }) => run))
  t.strictSame(reasons(await leaseAll(db, session)), [[undefined, null], [reason, null]], 'the replay of a replay')
})

t.test('a run that is tried again when all it waited for was deleted is told so; what is left of it is given', async (t) => {
  const { db, others } = await givenDatabase(t)
  const session = await givenSession(db)
  const { ids } = await givenWorkflow(db, [node('a'), node('b'), node('c', ['a', 'b'])])
  await succeed(db, (await leaseAll(db, session)).map((run) => ({ ...run, output: '1' })))
  await advanceAll(db)
  const again = async (deleted: string) => {
    await others.query('DELETE FROM task_runs WHERE result_id = $1', [deleted])
    await others.query(`UPDATE task_runs SET status = 'FAILED' WHERE result_id = $1`, [ids.c])
    await advanceAll(db)
    await requeue(db, [ids.c as string])
    return (await leaseAll(db, session))[0]?.parents
  }
  t.equal(await again(ids.a as string), `{"b":{"run":"${ids.b}","status":"SUCCESSFUL","output":1}}`)
  t.equal(await again(ids.b as string), 'The 2 runs it waited for were deleted, and what they returned with them')
})
