-- RUNNING → READY without costing an attempt, for runs $1 (bigint[]) held under leases $2 (uuid[]), to be ready $3 (ms[]) from now.
-- A run somebody asked to cancel ends as CANCELLED instead. Where $4 (bool[]), its queue is held for that time too.
WITH r AS (
  SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::float8[], $4::bool[]) AS r (result_id, lease_id, delay_ms, holds_queue)
), released AS (
  UPDATE task_runs t
     SET status = CASE WHEN t.cancel_requested THEN 'CANCELLED' ELSE 'READY' END,
         finished_at = CASE WHEN t.cancel_requested THEN now() END,
         attempts = greatest(t.attempts - 1, 0), worker_ids = t.worker_ids - -1,
         run_after = CASE WHEN r.delay_ms > 0 THEN now() + r.delay_ms * interval '1 ms' END,
         -- The lease settled nothing: a late result under it is stale, no duplicate.
         reproq_lease_id = NULL, leased_until = NULL, leased_by = NULL, updated_at = now()
    FROM r
   -- Bounded by the batch also in a plan that was made when task_runs was empty, and reads it first.
   WHERE t.result_id = ANY ($1::bigint[]) AND t.result_id = r.result_id AND t.reproq_lease_id = r.lease_id AND t.status = 'RUNNING'
  RETURNING t.result_id, t.status, t.queue_name, t.task_path, t.priority, t.enqueued_at, t.run_after, t.attempts, r.delay_ms, r.lease_id, r.holds_queue,
            t.reproq_fair_at, t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.expires_at
), freed AS (
  DELETE FROM reproq_leases WHERE result_id = ANY (ARRAY(SELECT result_id FROM released))
), ready AS (
  INSERT INTO reproq_ready (queue_name, claim_key, result_id, gated)
  SELECT queue_name, reproq_claim_key(priority, enqueued_at, reproq_fair_at), result_id, reproq_is_gated(lock_key, concurrency_key, concurrency_limit, reproq_rate_key, expires_at)
    FROM released WHERE status = 'READY' AND run_after IS NULL
), scheduled AS (
  INSERT INTO reproq_scheduled SELECT run_after, result_id FROM released WHERE status = 'READY' AND run_after IS NOT NULL
), hold AS (
  INSERT INTO reproq_queue_controls AS c (queue_name, reproq_held_until)
  SELECT queue_name, now() + max(delay_ms) * interval '1 ms' FROM released WHERE holds_queue AND delay_ms > 0 GROUP BY queue_name ORDER BY queue_name
  ON CONFLICT (queue_name) DO UPDATE SET reproq_held_until = greatest(c.reproq_held_until, excluded.reproq_held_until), updated_at = now()
)
SELECT result_id::text AS run, lease_id::text AS lease, status, queue_name AS queue, task_path AS task, attempts AS attempt, delay_ms AS "delayMs",
       lock_key IS NOT NULL OR concurrency_key IS NOT NULL AS keyed FROM released
