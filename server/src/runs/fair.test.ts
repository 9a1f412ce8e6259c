import t from 'tap'
import { controlFor, givenDatabase, givenForeignRun, givenRuns, givenSession, misplaced, type Given } from '../../../test/helpers/given.js'
import { lease, leaseGated } from './lease.js'
import { succeed } from './succeed.js'
import { forgetIdleTenants } from './fair.js'

const of = (tenant: string, count: number, columns = {}) => Array.from({ length: count }, () => ({ control: controlFor({ fairKey: tenant }), ...columns }))

/** Serves `most` runs, a few at a time. Returns whose they were. */
async function serve({ db, others }: Given, most: number): Promise<string[]> {
  const session = await givenSession(db)
  const served: string[] = []
  while (served.length < most) {
    const { runs } = await lease(db, ['default'], [session, session], 60_000)
    if (runs.length === 0) break
    await succeed(db, runs.map((run) => ({ ...run, output: '1' })))
    const { rows } = await others.query<{ tenant: string }>('SELECT coalesce(reproq_fair_key, $2) AS tenant FROM task_runs WHERE result_id = ANY ($1) ORDER BY array_position($1, result_id)', [runs.map(({ run }) => run), 'none'])
    served.push(...rows.map(({ tenant }) => tenant))
  }
  return served
}
const count = (served: string[], tenant: string) => served.filter((one) => one === tenant).length

t.test('a tenant that floods a queue keeps the next one waiting for its turn only', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, ...of('flood', 1_000))
  await serve(given, 100)
  await givenRuns(given.db, ...of('small', 10))
  const served = await serve(given, 22)
  t.equal(count(served, 'small'), 10, served.join(' '))
  t.strictSame(await misplaced(given.others), [])
})

t.test('three tenants share evenly, however much each has waiting, and whoever had nothing to do gains no credit by it', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, ...of('a', 300))
  await givenRuns(given.db, ...of('b', 100))
  await serve(given, 60)
  await givenRuns(given.db, ...of('c', 50))
  const served = await serve(given, 60)
  for (const tenant of ['a', 'b', 'c']) t.ok(Math.abs(count(served, tenant) - 20) <= 2, `${tenant}: ${count(served, tenant)} of 60`)
})

t.test('priority stands above the turn; rows that others write take turns too', async (t) => {
  const given = await givenDatabase(t)
  for (let at = 0; at < 20; at++) await givenForeignRun(given.others, { reproq_fair_key: 'a' })
  await givenForeignRun(given.others, { reproq_fair_key: 'b' })
  await givenForeignRun(given.others, { reproq_fair_key: 'c', priority: 9 })
  const served = await serve(given, 4)
  t.equal(served[0], 'c')
  t.ok(served.includes('b'), served.join(' '))
  t.strictSame(await misplaced(given.others), [])
})

t.test('tenants whose runs are all blocked by one limit take turns as well', async (t) => {
  const given = await givenDatabase(t)
  await given.others.query(`INSERT INTO rate_limits VALUES ('queue:default', 100, 1, 1)`)
  const session = await givenSession(given.db)
  const turn = () => leaseGated(given.db, ['default'], [session], 60_000)
  await givenRuns(given.db, ...of('flood', 50))
  while ((await given.others.query('SELECT FROM reproq_ready')).rows.length > 0) await turn()
  const [small] = await givenRuns(given.db, ...of('small', 1))
  let before = 0
  for (;;) {
    const { runs } = await turn()
    if (runs.some(({ run }) => run === small)) break
    before += runs.length
  }
  t.ok(before <= 3, `${before} of the flood came first`)
})

t.test('a tenant’s row held by a transaction keeps no enqueue waiting', async (t) => {
  const given = await givenDatabase(t)
  await givenRuns(given.db, ...of('a', 1))
  const holder = await given.others.connect()
  t.teardown(() => holder.release(true))
  await holder.query('BEGIN')
  await holder.query(`INSERT INTO task_runs (spec_json, spec_hash, task_path, reproq_fair_key) VALUES ('{}', 'x', 'a', 'a'), ('{}', 'x', 'a', 'new')`)
  await t.resolves(givenRuns(given.db, ...of('a', 2), ...of('new', 2)))
  await holder.query('COMMIT')
  t.strictSame(await misplaced(given.others), [])
})

t.test('what is known of idle tenants goes; of one that waits it stays', async (t) => {
  const given = await givenDatabase(t)
  const tenants = async () => (await given.others.query<{ fair_key: string }>('SELECT fair_key FROM reproq_fair ORDER BY fair_key')).rows.map(({ fair_key: key }) => key)
  await givenRuns(given.db, ...of('idle', 3))
  await serve(given, 3)
  await givenRuns(given.db, ...of('waits', 3))
  t.strictSame(await tenants(), ['idle', 'waits'])
  await forgetIdleTenants(given.db)
  t.strictSame(await tenants(), ['waits'])
  await serve(given, 3)
  await forgetIdleTenants(given.db)
  t.strictSame(await tenants(), [])
})
