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
   WHERE t.result_id = ANY ($1::bigint[]) AND t.result_id = g.result_id AND t.status IN ('WAITING', 'READY', 'RUNNING')
  RETURNING t.result_id, t.status
), unready AS (
  -- By place: joined by key, a plan that was made when few waited would read all that do.
  DELETE FROM reproq_ready WHERE ctid = ANY (ARRAY(
    SELECT entry.place FROM target g CROSS JOIN LATERAL (
      SELECT r.ctid AS place FROM reproq_ready r
       WHERE r.queue_name = g.queue_name AND r.claim_key = reproq_claim_key(g.priority, g.enqueued_at, g.reproq_fair_at) AND r.result_id = g.result_id OFFSET 0
    ) AS entry WHERE g.status = 'READY'))
), unblocked AS (
  DELETE FROM reproq_blocked WHERE result_id = ANY (ARRAY(SELECT result_id FROM target WHERE status = 'READY'))
), unscheduled AS (
  DELETE FROM reproq_scheduled WHERE ctid = ANY (ARRAY(
    SELECT entry.place FROM target g CROSS JOIN LATERAL (
      SELECT s.ctid AS place FROM reproq_scheduled s WHERE s.run_after = g.run_after AND s.result_id = g.result_id OFFSET 0
    ) AS entry WHERE g.status = 'READY'))
)
SELECT g.result_id::text AS run, g.queue_name AS queue, g.status AS was, coalesce(c.status, g.status) AS status,
       c.status IS NOT NULL AND (g.lock_key IS NOT NULL OR g.concurrency_key IS NOT NULL) AS keyed,
       -- Said once, when the wish is new: brokers that hear it come here again.
       CASE WHEN c.status = 'RUNNING' AND NOT g.cancel_requested THEN pg_notify('reproq_cancel', g.result_id::text) END AS told
  FROM target g LEFT JOIN changed c USING (result_id)
