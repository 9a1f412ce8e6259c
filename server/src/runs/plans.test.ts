import pg from 'pg'
import t, { type Test } from 'tap'
import { givenDatabase, givenSession } from '../../../test/helpers/given.js'
import { SESSION } from '../db/pool.js'
import { statements } from '../db/statement.js'
import '../sessions/sessions.js'
import './cancel.js'
import './checkpoint.js'
import './expire.js'
import './finalize.js'
import './lease.js'
import './limits.js'
import './promote.js'
import './release.js'
import './run-limit.js'
import './succeed.js'
import './unblock.js'
import './watch.js'
import './find.js'

/**
 * A statement of the hot path walks an index and touches as many pages as its batch needs, whatever is in the tables and whatever the
 * statistics say of it. Pages, not milliseconds: they are the same on every machine.
 */

interface Plan {
  'Node Type': string
  'Relation Name'?: string
  'Actual Rows': number
  'Actual Loops': number
  'Shared Hit Blocks': number
  'Shared Read Blocks': number
  'Rows Removed by Join Filter'?: number
  'Rows Removed by Filter'?: number
  Plans?: Plan[]
}

const BATCH = 100
const MANY = 1_000_000
/** Real rows behind the head of the queue; the rest of it is entries alone, which is all that a lease may look at. */
const ROWS = 20_000
const TABLES = new Set(['task_runs', 'reproq_ready', 'reproq_scheduled', 'reproq_leases', 'reproq_foreign_leases', 'reproq_blocked', 'reproq_holds', 'rate_limits'])
/** Their batch may be as large as a worker's window: not even beside each other may its items be compared. */
const LARGE = new Set(['reconcile'])
/** Small, and read whole. */
const LISTS = new Set(['reproq_foreign_leases'])

const array = (values: readonly (string | number | null)[]) => pg.escapeLiteral(`{${values.map((value) => value ?? 'NULL').join(',')}}`)
const uuid = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
const times = <T>(value: (index: number) => T, count = BATCH) => Array.from({ length: count }, (_, index) => value(index))

/** What each statement is run with. `held`: runs of one session, whose leases are uuid(run); `waiting`: ready ones. */
function parameters(session: string, held: readonly string[], waiting: readonly string[]): Record<string, string[]> {
  const leases = array(held.map((run) => uuid(Number(run))))
  const slots = [array(times(() => 1)), array([session]), array(['w']), array(times((index) => uuid(1e9 + index))), '60000', '1000000']
  const lane = `'{default}'`
  return {
    lease: [lane, ...slots, array(['-9223372036854775808'])],
    succeed: [array(held), leases, pg.escapeLiteral(JSON.stringify(held.map(() => '1')))],
    finalize: [array(held), leases, array(held.map(() => 'READY')), array(held.map(() => null)), array(held.map(() => null)), array(held.map(() => 1_000)), array(held.map(() => null))],
    release: [array(held), leases, array(held.map(() => 0)), array(held.map(() => 'f'))],
    cancel: [array([...held, ...waiting])],
    promote: [String(BATCH)],
    unblock: [String(BATCH)],
    'lease-gated': [lane, ...slots, '1000'],
    overdue: ['5000', array([session])],
    'run-limit': [array(held), leases, array(held.map(() => 60_000)), '86400000'],
    refusals: [array(held), leases],
    reconcile: [session, array(held), leases],
    shorten: [session, '1', '1000'],
    settled: [array([...held, ...waiting])],
    checkpoint: [array(held), leases, array(held.map(() => 1))],
    expire: [String(BATCH)],
    reclaim: [],
    'limit-forget': [`''`, String(BATCH), '60000'],
  }
}

class Planner {
  readonly #client: pg.Client
  constructor(client: pg.Client) {
    this.#client = client
  }

  /** A connection keeps the plan of a statement for as long as Postgres learns nothing new of its tables. */
  async prepare(name: string): Promise<void> {
    const statement = statements.find((each) => each.name === `reproq_${name}`)
    if (!statement) throw new Error(`there is no statement ${name}`)
    await this.#client.query(`PREPARE "plan_${name}" AS ${statement.text}`)
  }

  async forget(): Promise<void> {
    await this.#client.query('DEALLOCATE ALL')
  }

  /** Runs it for real, in a transaction that is undone. */
  async explain(name: string, params: string[]): Promise<{ plan: Plan; pages: number }> {
    await this.#client.query('BEGIN')
    try {
      const { rows } = await this.#client.query<{ 'QUERY PLAN': [{ Plan: Plan }] }>(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE "plan_${name}"${params.length > 0 ? `(${params.join(', ')})` : ''}`)
      const plan = (rows[0] as { 'QUERY PLAN': [{ Plan: Plan }] })['QUERY PLAN'][0].Plan
      return { plan, pages: plan['Shared Hit Blocks'] + plan['Shared Read Blocks'] }
    } finally {
      await this.#client.query('ROLLBACK')
    }
  }
}

function* nodes(plan: Plan): Generator<Plan> {
  yield plan
  for (const child of plan.Plans ?? []) yield* nodes(child)
}

/** What must not be in a plan: a walk over a whole table, a sort of more than the batch, everything beside everything. */
function faults(name: string, plan: Plan): string[] {
  // Beside each other: the batch and the batch, at most.
  const mostPairs = LARGE.has(name) ? 4 * BATCH : (2 * BATCH) ** 2
  return [...nodes(plan)].flatMap((node) => {
    const { 'Node Type': type, 'Relation Name': table, Plans: [input] = [] } = node
    if (type === 'Seq Scan' && table !== undefined && TABLES.has(table) && !LISTS.has(table)) return [`Seq Scan on ${table}`]
    const dropped = (node['Rows Removed by Filter'] ?? 0) * node['Actual Loops']
    if (dropped > 4 * BATCH && table !== undefined) return [`${type} on ${table} that drops ${dropped} rows`]
    const pairs = (node['Rows Removed by Join Filter'] ?? 0) * node['Actual Loops']
    if (pairs > mostPairs) return [`${type} that drops ${pairs} pairs`]
    if (type === 'Sort' && input && input['Actual Rows'] > 2 * BATCH) return [`Sort of ${input['Actual Rows']} rows`]
    return []
  })
}

async function givenPlanner(t: Test) {
  const given = await givenDatabase(t)
  const client = new pg.Client({ connectionString: given.url, options: [...SESSION, 'statement_timeout=60000'].map((setting) => `-c ${setting}`).join(' ') })
  await client.connect()
  t.teardown(() => client.end())
  const { sessionId } = await givenSession(given.db, 'w')
  // Nobody updates the statistics but the test.
  for (const table of TABLES) await client.query(`ALTER TABLE ${table} SET (autovacuum_enabled = off)`)
  const fill = async (rows: number, entries: number) => {
    await client.query(`INSERT INTO task_runs (task_path, spec_json, spec_hash) SELECT 't', '{}', 'h' FROM generate_series(1, ${rows})`)
    await client.query(`INSERT INTO reproq_ready (queue_name, claim_key, result_id) SELECT queue_name, reproq_claim_key(priority, enqueued_at), result_id FROM task_runs WHERE status = 'READY' ON CONFLICT DO NOTHING`)
    await client.query(`INSERT INTO reproq_ready (queue_name, claim_key, result_id) SELECT 'default', 9e18::bigint + i, 1000000000 + i FROM generate_series(1, ${entries}) i`)
    await client.query(`INSERT INTO reproq_scheduled (run_after, result_id) SELECT now() - interval '1 day' + i * interval '1 ms', 4000000000 + i FROM generate_series(1, ${Math.min(rows, 2 * BATCH)}) i ON CONFLICT DO NOTHING`)
    await client.query(`INSERT INTO reproq_scheduled (run_after, result_id) SELECT now() + interval '1 day' + i * interval '1 s', 2000000000 + i FROM generate_series(1, ${entries}) i`)
    await client.query(`INSERT INTO reproq_blocked (result_id, key, room, queue_name, claim_key) SELECT 3000000000 + i, 'lock:' || i % 1000, 1, 'default', i FROM generate_series(1, ${Math.min(Math.max(entries, 1_000), 100_000)}) i ON CONFLICT DO NOTHING`)
    await client.query(`INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens, last_refilled_at, reproq_by_hand)
                        SELECT 'key:' || i, 1, 1, 1, now() - interval '1 day', false FROM generate_series(1, ${Math.min(Math.max(entries, 1_000), 100_000)}) i ON CONFLICT DO NOTHING`)
  }
  await client.query('ALTER TABLE rate_limits DISABLE TRIGGER USER')
  await client.query(`INSERT INTO reproq_freed (key) SELECT 'lock:' || i FROM generate_series(1, ${BATCH}) i`)
  /** As many whose workers, none of ours, are gone. */
  const abandon = () =>
    client.query(
      `WITH run AS (INSERT INTO task_runs (task_path, spec_json, spec_hash, status, attempts, leased_by, leased_until)
                    SELECT 't', '{}', 'h', 'RUNNING', 1, 'go', now() - interval '1 min' FROM generate_series(1, ${BATCH}) RETURNING result_id)
       INSERT INTO reproq_foreign_leases SELECT result_id FROM run`,
    )
  /** A batch of runs held by the session. */
  const hold = async () => {
    const { rows } = await client.query<{ id: string }>(
      `INSERT INTO task_runs (task_path, spec_json, spec_hash, status, attempts, leased_by, last_attempted_at, leased_until)
       SELECT 't', '{}', 'h', 'RUNNING', 1, 'w', now(), now() + interval '1 min' FROM generate_series(1, ${BATCH}) RETURNING result_id::text AS id`,
    )
    const held = rows.map(({ id }) => id)
    await client.query(`UPDATE task_runs SET reproq_lease_id = ('00000000-0000-4000-8000-' || lpad(result_id::text, 12, '0'))::uuid WHERE result_id = ANY ($1::bigint[])`, [held])
    await client.query(`INSERT INTO reproq_leases (result_id, session_id) SELECT unnest($1::bigint[]), $2`, [held, sessionId])
    return held
  }
  const planner = new Planner(client)
  const emptied = async () => {
    for (const table of TABLES) await client.query(`VACUUM (ANALYZE) ${table}`)
  }
  await emptied()
  // The worst time to plan: the tables are known to be empty.
  for (const [name, params] of Object.entries(parameters(sessionId, [], []))) {
    await planner.prepare(name)
    await planner.explain(name, params)
  }
  const held = await hold()
  await abandon()
  const measure = async ({ replan = true } = {}) => {
    if (replan) await planner.forget()
    const { rows } = await client.query<{ id: string }>(`SELECT result_id::text AS id FROM task_runs WHERE status = 'READY' LIMIT ${BATCH}`)
    const waiting = rows.map(({ id }) => id)
    const found = new Map<string, { pages: number; faults: string[] }>()
    for (const [name, params] of Object.entries(parameters(sessionId, held, waiting))) {
      if (replan) await planner.prepare(name)
      const { plan, pages } = await planner.explain(name, params)
      found.set(name, { pages, faults: faults(name, plan) })
    }
    return found
  }
  return { client, fill, measure }
}

/** Deeper indexes cost a page or two for each entry of the batch. */
const allowedBeside = (pages: number) => pages * 2 + 4 * BATCH

t.test('a plan that was made when the tables were empty, and is kept, serves when they are full', async (t) => {
  const { client, fill, measure } = await givenPlanner(t)
  await fill(ROWS, MANY / 10)
  const kept = await measure({ replan: false })
  for (const table of TABLES) await client.query(`ANALYZE ${table}`)
  const planned = await measure()
  for (const [name, { pages, faults }] of kept) {
    t.strictSame(faults, [], name)
    const now = planned.get(name)?.pages ?? 0
    t.ok(pages <= allowedBeside(now), `${name}: ${pages} pages, planned now ${now}`)
  }
})

t.test('plans keep their shape: empty, a thousand, a million; with no statistics, stale and fresh ones', async (t) => {
  const { client, fill, measure } = await givenPlanner(t)
  const analyze = async () => {
    for (const table of TABLES) await client.query(`ANALYZE ${table}`)
  }
  const seen = new Map<string, Awaited<ReturnType<typeof measure>>>()
  await fill(1_000, 0)
  seen.set('1 k, statistics of an empty table', await measure())
  await analyze()
  seen.set('1 k, analyzed', await measure())
  await fill(ROWS, MANY)
  seen.set('1 M, statistics of 1 k', await measure())
  await analyze()
  seen.set('1 M, analyzed', await measure())
  await client.query('DELETE FROM reproq_ready WHERE result_id > 1000000000')
  await client.query('VACUUM reproq_ready')
  seen.set('1 k, statistics of 1 M', await measure())

  const small = seen.get('1 k, analyzed') as Map<string, { pages: number }>
  for (const [when, measured] of seen) {
    for (const [name, { pages, faults }] of measured) {
      t.strictSame(faults, [], `${name}, ${when}`)
      t.ok(pages <= allowedBeside(small.get(name)?.pages ?? 0), `${name}, ${when}: ${pages} pages, at 1 k ${small.get(name)?.pages}`)
    }
  }
})
