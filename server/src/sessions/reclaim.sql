-- Runs under a lease of somebody else's (the Go worker's) that has passed go to READY, or to FAILED after their last attempt, or to
-- CANCELLED if somebody asked. Reproq's workers do this for each other; here the last of them may be gone. One that never had an end
-- (leased_until is null) is left alone, as there. At most a hundred; returns them as reap.sql does.
WITH passed AS MATERIALIZED (
  SELECT t.result_id, t.leased_by,
         CASE WHEN t.cancel_requested THEN 'CANCELLED' WHEN t.attempts < t.max_attempts THEN 'READY' ELSE 'FAILED' END AS status
    FROM task_runs t
   -- No join, here and below: a plan made while the tables were empty would walk all of task_runs.
   WHERE t.result_id = ANY (ARRAY(SELECT result_id FROM reproq_foreign_leases)) AND t.status = 'RUNNING' AND t.reproq_lease_id IS NULL AND t.leased_until < now()
   ORDER BY t.result_id LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED
), settled AS (
  UPDATE task_runs t
     SET status = p.status,
         finished_at = CASE WHEN p.status <> 'READY' THEN now() END,
         failed_at = CASE WHEN p.status = 'FAILED' THEN now() END,
         last_error = CASE WHEN p.status = 'FAILED' THEN 'lease_expiry: Worker heartbeat lost or process crashed' END,
         errors_json = t.errors_json || jsonb_build_object('kind', 'lease_expiry', 'message', 'Worker heartbeat lost or process crashed',
                                                           'attempt', t.attempts, 'worker_id', t.leased_by, 'at', now()),
         run_after = NULL, leased_until = NULL, leased_by = NULL, updated_at = now()
    FROM passed p WHERE t.result_id = ANY (ARRAY(SELECT result_id FROM passed)) AND t.result_id = p.result_id AND t.status = 'RUNNING'
  RETURNING t.*, p.leased_by AS was_leased_by
), gone AS (
  -- And what went past the triggers (TRUNCATE, a restored backup).
  DELETE FROM reproq_foreign_leases f
   WHERE f.result_id = ANY (ARRAY(SELECT result_id FROM settled)) OR NOT EXISTS (SELECT FROM task_runs t WHERE t.result_id = f.result_id AND t.status = 'RUNNING' OFFSET 0)
), ready AS (
  INSERT INTO reproq_ready (queue_name, claim_key, result_id, gated)
  SELECT queue_name, reproq_claim_key(priority, enqueued_at, reproq_fair_at), result_id, reproq_is_gated(lock_key, concurrency_key, concurrency_limit, reproq_rate_key, expires_at)
    FROM settled WHERE status = 'READY'
)
SELECT NULL::text AS "sessionId", was_leased_by AS "workerId", result_id::text AS run, status, queue_name AS queue, task_path AS task, attempts AS attempt,
       lock_key IS NOT NULL OR concurrency_key IS NOT NULL AS keyed
  FROM settled
