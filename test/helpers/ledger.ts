import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { givenToken } from './broker.js'
import { testDatabase, type TestDatabase } from './database.js'

export interface Start {
  run: string
  attempt: number
  pid: number
}

/** What really ran: written by the tasks themselves, outside Postgres. */
export interface Ledger {
  /** For the environment of workers. */
  env: { REPROQ_TEST_LEDGER: string }
  starts(): Start[]
  startsOf(run: string): Start[]
}

/** A database that writes down every change of a status, a ledger of what really ran, and a token for everything. */
export async function givenAudited(t: Test): Promise<{ database: TestDatabase; ledger: Ledger; token: string }> {
  const database = await testDatabase(t)
  await auditTransitions(database)
  return { database, ledger: testLedger(t), token: await givenToken(database.url, ['admin']) }
}

export function testLedger(t: Test): Ledger {
  const folder = mkdtempSync(join(tmpdir(), 'reproq-ledger-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'starts')
  writeFileSync(file, '')
  const starts = () => readFileSync(file, 'utf8').split('\n').filter((line) => line !== '').map(parse)
  return { env: { REPROQ_TEST_LEDGER: file }, starts, startsOf: (run) => starts().filter((start) => start.run === run) }
}

function parse(line: string): Start {
  const [run = '', attempt = '', pid = ''] = line.split(' ')
  return { run, attempt: Number(attempt), pid: Number(pid) }
}

/** Writes down every change of a status that anyone makes, however it is made. Before the first run, please. */
export async function auditTransitions({ pool }: Pick<TestDatabase, 'pool'>): Promise<void> {
  await pool.query(`
    CREATE TABLE test_transitions (n bigserial, run bigint, was text, became text, lease uuid, at timestamptz DEFAULT clock_timestamp());
    CREATE FUNCTION test_audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO test_transitions (run, was, became, lease) VALUES (new.result_id, old.status, new.status, new.reproq_lease_id);
      RETURN NULL;
    END $$;
    CREATE TRIGGER test_audit AFTER UPDATE ON task_runs FOR EACH ROW WHEN (old.status <> new.status) EXECUTE FUNCTION test_audit();`)
}

export interface History {
  run: string
  status: string
  attempts: number
  output: { attempt: number; pid: number } | null
  /** Kinds of `errors_json`. */
  kinds: string[]
  finals: number
  /** Changes that left a final status. */
  resurrections: number
}

/** How every run stands, with what the audit has seen of it. */
export async function histories({ pool }: Pick<TestDatabase, 'pool'>): Promise<History[]> {
  const { rows } = await pool.query<History>(`
    SELECT t.result_id::text AS run, t.status, t.attempts, t.return_json AS output,
           ARRAY(SELECT e ->> 'kind' FROM jsonb_array_elements(t.errors_json) AS e) AS kinds,
           (SELECT count(*)::int FROM test_transitions x WHERE x.run = t.result_id AND x.became IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')) AS finals,
           (SELECT count(*)::int FROM test_transitions x WHERE x.run = t.result_id AND x.was IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')) AS resurrections
      FROM task_runs t ORDER BY t.result_id`)
  return rows
}

/** How many runs are not over. */
export async function unfinished({ pool }: Pick<TestDatabase, 'pool'>): Promise<number> {
  const { rows } = await pool.query<{ count: number }>(`SELECT count(*)::int FROM task_runs WHERE status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')`)
  return rows[0]?.count ?? 0
}

/**
 * Every run succeeded, was finalized once, and its output is of an attempt that really ran, which was its last.
 * Nothing is left in the narrow tables. Returns the histories.
 */
export async function allSucceededOnce(t: Test, database: Pick<TestDatabase, 'pool'>, ledger: Ledger): Promise<History[]> {
  const rows = await histories(database)
  const ran = new Set(ledger.starts().map(({ run, attempt, pid }) => `${run} ${attempt} ${pid}`))
  t.strictSame(rows.filter(({ status }) => status !== 'SUCCESSFUL'), [], 'every run succeeded')
  t.strictSame(rows.filter(({ finals, resurrections }) => finals !== 1 || resurrections !== 0), [], 'each was finalized exactly once')
  t.strictSame(rows.filter(({ run, output }) => !ran.has(`${run} ${output?.attempt} ${output?.pid}`)), [], 'each result is that of an execution that happened')
  t.strictSame(rows.filter(({ attempts, output }) => attempts !== output?.attempt), [], 'and of the last attempt')
  const { rows: left } = await database.pool.query(`SELECT 'leased' AS what, result_id FROM reproq_leases UNION ALL SELECT 'ready', result_id FROM reproq_ready UNION ALL SELECT 'scheduled', result_id FROM reproq_scheduled UNION ALL SELECT 'blocked', result_id FROM reproq_blocked UNION ALL SELECT 'holding', result_id FROM reproq_holds`)
  t.strictSame(left, [], 'nothing is leased, waits or holds a key any more')
  return rows
}

/** The starts of every run that was started more than once. */
export function startedMoreThanOnce(ledger: Ledger): Map<string, Start[]> {
  const byRun = new Map<string, Start[]>()
  for (const start of ledger.starts()) byRun.set(start.run, [...(byRun.get(start.run) ?? []), start])
  return new Map([...byRun].filter(([, starts]) => starts.length > 1))
}
