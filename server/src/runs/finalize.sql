-- RUNNING → FAILED, CANCELLED, or READY for another attempt: the verdict on runs $1 (bigint[]) under leases $2 (uuid[]).
-- $3 status[]  $4 error entry (json text, or null)[]  $5 last_error[]  $6 delay of a retry (ms)[]  $7 crashes by now (null: this was none)[]. What went well is succeed.sql's.
-- The lease is the fence: a row comes back only where this very lease still held the run. A retry of a run that somebody
-- asked to cancel becomes CANCELLED.
WITH r AS (
  SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::float8[], $7::smallint[])
                AS r (result_id, lease_id, status, error, last_error, delay_ms, crashes)
), done AS (
  UPDATE task_runs t
     SET status = CASE WHEN r.status = 'READY' AND t.cancel_requested THEN 'CANCELLED' ELSE r.status END,
         return_json = NULL,
         errors_json = CASE WHEN r.error IS NULL THEN t.errors_json ELSE t.errors_json || r.error::jsonb END,
         last_error = r.last_error,
         failed_at = CASE WHEN r.status = 'FAILED' THEN now() END,
         finished_at = CASE WHEN r.status <> 'READY' OR t.cancel_requested THEN now() END,
         run_after = CASE WHEN r.status = 'READY' THEN now() + r.delay_ms * interval '1 ms' END,
         reproq_crashes = coalesce(r.crashes, t.reproq_crashes),
         leased_until = NULL, leased_by = NULL, updated_at = now()
    FROM r
   -- Bounded by the batch also in a plan that was made when task_runs was empty, and reads it first.
   WHERE t.result_id = ANY ($1::bigint[]) AND t.result_id = r.result_id AND t.reproq_lease_id = r.lease_id AND t.status = 'RUNNING'
  RETURNING t.result_id, t.status, t.queue_name, t.task_path, t.priority, t.enqueued_at, t.run_after, t.attempts, r.delay_ms, r.lease_id,
            t.reproq_fair_at, t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.expires_at
), freed AS (
  DELETE FROM reproq_leases WHERE result_id = ANY (ARRAY(SELECT result_id FROM done))
), ready AS (
  INSERT INTO reproq_ready (queue_name, claim_key, result_id, gated)
  SELECT queue_name, reproq_claim_key(priority, enqueued_at, reproq_fair_at), result_id, reproq_is_gated(lock_key, concurrency_key, concurrency_limit, reproq_rate_key, expires_at)
    FROM done WHERE status = 'READY' AND delay_ms <= 0
), scheduled AS (
  INSERT INTO reproq_scheduled SELECT run_after, result_id FROM done WHERE status = 'READY' AND delay_ms > 0
)
SELECT result_id::text AS run, lease_id::text AS lease, status, queue_name AS queue, task_path AS task, attempts AS attempt, delay_ms AS "delayMs",
       lock_key IS NOT NULL OR concurrency_key IS NOT NULL AS keyed FROM done
