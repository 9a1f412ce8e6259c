import t from 'tap'
import { givenDatabase, rowOf } from '../../../test/helpers/given.js'
import { givenWorkflow, node } from '../../../test/helpers/given-workflow.js'

t.test('a key that has a workflow is answered with it, and nothing is made', async (t) => {
  const { db, others } = await givenDatabase(t)
  const make = () => givenWorkflow(db, [node('a'), node('b', ['a'])], { idempotency_key: 'once' })
  const made = async () => {
    const { rows } = await others.query(`SELECT (SELECT last_value FROM pg_sequences WHERE sequencename = 'task_runs_result_id_seq') AS runs, (SELECT count(*) FROM reproq_workflows) AS workflows`)
    return rows[0] as unknown
  }
  const first = await make()
  const before = await made()
  t.match(await make(), { id: first.id, runs: first.runs, deduplicated: true })
  t.strictSame(await made(), before)
  t.equal(first.deduplicated, false)
})

t.test('instants of a node may have any offset that the format allows', async (t) => {
  const { db, others } = await givenDatabase(t)
  const { ids } = await givenWorkflow(db, [{ ...node('a'), expires_at: '2030-01-02T00:00:00+23:00' }, { ...node('b'), run_after: '2030-01-01T00:00:00-23:00' }])
  t.strictSame((await rowOf(others, ids.a as string)).expires_at, new Date('2030-01-01T01:00:00Z'))
  t.strictSame((await rowOf(others, ids.b as string)).run_after, new Date('2030-01-01T23:00:00Z'))
})
