-- WAITING or READY → CANCELLED; RUNNING → asked to stop (cancel_requested), and every broker is told. Runs $1 (bigint[]).
-- Returns one row per run that exists, with its status before and after.
WITH target AS MATERIALIZED (
  SELECT result_id, status, queue_name, priority, enqueued_at, run_after, cancel_requested, reproq_fair_at, lock_key, concurrency_key
    FROM task_runs WHERE result_id = ANY ($1::bigint[]) ORDER BY result_id FOR NO KEY UPDATE
), changed AS (
  UPDATE task_runs t
     SET cancel_requested = true, updated_at = now(),
         status = CASE WHEN t.status = 'RUNNING' THEN t.status ELSE 'CANCELLED' END,
         finished_at = CASE WHEN t.status = 'RUNNING' THEN NULL ELSE now() END
    FROM target g
   WHERE t.result_id = g.result_id AND t.status IN ('WAITING', 'READY', 'RUNNING')
  RETURNING t.result_id, t.status
), unready AS (
  DELETE FROM reproq_ready r USING target g
   WHERE g.status = 'READY' AND r.queue_name = g.queue_name AND r.claim_key = reproq_claim_key(g.priority, g.enqueued_at, g.reproq_fair_at) AND r.result_id = g.result_id
), unblocked AS (
  DELETE FROM reproq_blocked b USING target g WHERE g.status = 'READY' AND b.result_id = g.result_id
), unscheduled AS (
  DELETE FROM reproq_scheduled s USING target g WHERE g.status = 'READY' AND s.run_after = g.run_after AND s.result_id = g.result_id
)
SELECT g.result_id::text AS run, g.queue_name AS queue, g.status AS was, coalesce(c.status, g.status) AS status,
       c.status IS NOT NULL AND (g.lock_key IS NOT NULL OR g.concurrency_key IS NOT NULL) AS keyed,
       -- Said once, when the wish is new: brokers that hear it come here again.
       CASE WHEN c.status = 'RUNNING' AND NOT g.cancel_requested THEN pg_notify('reproq_cancel', g.result_id::text) END AS told
  FROM target g LEFT JOIN changed c USING (result_id)
