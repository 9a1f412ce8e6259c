import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { givenDatabase, givenForeignRun, givenSession, misplaced, rowOf, statusOf, type Given } from '../../../test/helpers/given.js'
import { advanceAll, givenWorkflow, leaseAll, misled, node } from '../../../test/helpers/given-workflow.js'
import { requeue } from '../runs/requeue.js'
import { succeed } from '../runs/succeed.js'
import { advance } from './advance.js'

// A row that the database does not let anybody move must not keep the other workflows waiting.

/** Two workflows of a run and its child. All first runs succeed, so that all children are to move in one step. */
async function givenTwo(t: Test, prepare: (given: Given, bad: string) => Promise<unknown>) {
  const given = await givenDatabase(t)
  const session = await givenSession(given.db)
  const [bad, good] = [await givenWorkflow(given.db, [node('a'), node('b', ['a']), node('c', ['b'])]), await givenWorkflow(given.db, [node('a'), node('b', ['a'])])]
  await prepare(given, bad.ids.b as string)
  const leased = await leaseAll(given.db, session)
  await succeed(given.db, leased.map((item) => ({ ...item, output: '1' })))
  return { given, bad: bad.ids as { a: string; b: string; c: string }, good: good.ids.b as string }
}

t.test('a child whose hash an active run has, in a database that allows one, fails and says so; tried again later it runs', async (t) => {
  const twin = { status: 'RUNNING', spec_hash: 'same', queue_name: 'elsewhere' }
  const { given, bad, good } = await givenTwo(t, async ({ others }, child) => {
    await others.query(`CREATE UNIQUE INDEX idx_task_runs_spec_unique ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING')`)
    await others.query(`UPDATE task_runs SET spec_hash = 'same' WHERE result_id = $1`, [child])
    await givenForeignRun(others, twin)
  })
  const { runs } = await advance(given.db, 1_000)
  t.match(runs.toSorted((one, other) => Number(one.run) - Number(other.run)), [{ run: bad.b, status: 'FAILED' }, { run: good, status: 'READY' }])
  await advanceAll(given.db)
  t.match(await rowOf(given.others, bad.b), { status: 'FAILED', attempts: 0, finished_at: Date, failed_at: Date, errors_json: [{ kind: 'workflow_failed', message: /^It could not become READY: .*idx_task_runs_spec_unique/ }] })
  t.match(await rowOf(given.others, bad.c), { status: 'FAILED', last_error: /idx_task_runs_spec_unique/, errors_json: [{ failed_result_id: Number(bad.b) }] })
  t.strictSame([await misled(given.others), await misplaced(given.others)], [[], []])
  await given.others.query(`UPDATE task_runs SET status = 'SUCCESSFUL' WHERE queue_name = 'elsewhere'`)
  await requeue(given.db, [bad.b])
  await advanceAll(given.db)
  t.equal(await statusOf(given.others, bad.b), 'READY')
  t.equal(await statusOf(given.others, bad.c), 'WAITING')
})

t.test('a row that no statement may change stays as it is', async (t) => {
  const { given, bad, good } = await givenTwo(t, ({ others }, child) =>
    others.query(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON task_runs FOR EACH ROW WHEN (OLD.result_id = ${child}) EXECUTE FUNCTION refuse()`),
  )
  await advanceAll(given.db)
  t.equal(await statusOf(given.others, good), 'READY')
  t.equal(await statusOf(given.others, bad.b), 'WAITING')
})

t.test('whatever others wrote into the errors of a parent, its children fail and name it', async (t) => {
  for (const written of ['[{"kind": "x", "failed_result_id": "abc"}]', '[{"failed_result_id": 12345678901234567890123}]', '{"failed_result_id": "7"}', '"x"']) {
    const given = await givenDatabase(t)
    const workflow = randomUUID()
    const parent = await givenForeignRun(given.others, { workflow_id: workflow, status: 'FAILED', errors_json: written })
    const child = await givenForeignRun(given.others, { workflow_id: workflow, status: 'WAITING', parent_id: parent, wait_count: 1, errors_json: written })
    await advanceAll(given.db)
    t.match(await rowOf(given.others, child), { status: 'FAILED', last_error: new RegExp(`^workflow_failed: .*${parent}, which it waited for, failed|concatenation`) }, written)
  }
})
