import type pg from 'pg'

interface Step {
  run: string
  key: string
  /** How many may run, this one included. */
  room: number
  starts: boolean
}

/**
 * Writes down every start and end of a run with keys, whoever makes it. The numbers are taken inside the transactions, so a start
 * that came after an end had committed, or saw another's hold, has the larger one: the order is that of what happened.
 */
export async function auditKeys(pool: pg.Pool): Promise<void> {
  await pool.query(`
    CREATE TABLE test_key_steps (n bigserial, run bigint, key text, room integer, starts boolean, transaction xid8 DEFAULT pg_current_xact_id());
    CREATE FUNCTION test_audit_keys() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
      it task_runs := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    BEGIN
      INSERT INTO test_key_steps (run, key, room, starts)
      SELECT it.result_id, key, CASE WHEN starts_with(key, 'lock:') THEN 1 ELSE it.concurrency_limit END, TG_OP = 'UPDATE' AND it.status = 'RUNNING'
        FROM unnest(reproq_keys(it.lock_key, it.concurrency_key, it.concurrency_limit)) AS key;
      RETURN NULL;
    END $$;
    CREATE TRIGGER test_audit_keys AFTER UPDATE ON task_runs FOR EACH ROW
      WHEN (OLD.status <> NEW.status AND (OLD.status = 'RUNNING' OR NEW.status = 'RUNNING')) EXECUTE FUNCTION test_audit_keys();
    CREATE TRIGGER test_audit_keys_of_deleted AFTER DELETE ON task_runs FOR EACH ROW WHEN (OLD.status = 'RUNNING') EXECUTE FUNCTION test_audit_keys();`)
}

/** Every start looked at: `checks`; and those that came while their key had no room. */
export async function keyViolations(pool: pg.Pool): Promise<{ checks: number; violations: string[] }> {
  const { rows } = await pool.query<Step>(`
    -- What one statement starts, it lets in before it starts the first; in which order it then writes its rows is the planner's choice. Those that
    -- leave the least room to others went first, if they could go together at all.
    SELECT run::text, key, room, starts
      FROM test_key_steps ORDER BY CASE WHEN starts THEN min(n) FILTER (WHERE starts) OVER (PARTITION BY transaction) ELSE n END, room`)
  const running = new Map<string, Set<string>>()
  const violations: string[] = []
  for (const { run, key, room, starts } of rows) {
    const holders = running.get(key) ?? new Set()
    running.set(key, holders)
    if (!starts) holders.delete(run)
    else if (holders.add(run).size > room) violations.push(`${run} started as number ${holders.size} of ${key}, where ${room} may`)
  }
  return { checks: rows.filter(({ starts }) => starts).length, violations }
}
