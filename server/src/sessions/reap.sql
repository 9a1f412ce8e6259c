-- Expired sessions end, and what they held goes to READY at once, or to FAILED after its last attempt, or to CANCELLED if somebody asked.
-- Every attempt stays counted, also of a run the worker never said it had: it may have started, and its word got lost.
-- A run that has lost its process for the $1th time (0: never) is FAILED whatever attempts are left.
-- Leases of sessions that no longer exist are treated alike. Returns one row per run, and per session without runs (run null).
WITH dead AS MATERIALIZED (
  SELECT session_id, worker_id FROM reproq_sessions WHERE expires_at < now() ORDER BY session_id LIMIT 100 FOR UPDATE SKIP LOCKED
), ended AS (
  DELETE FROM reproq_sessions s USING dead d WHERE s.session_id = d.session_id
), worker AS (
  -- A worker that is back under another session stays listed.
  DELETE FROM reproq_workers w USING dead d
   WHERE w.worker_id = d.worker_id
     AND NOT EXISTS (SELECT FROM reproq_sessions s WHERE s.worker_id = d.worker_id AND s.session_id NOT IN (SELECT session_id FROM dead))
), lost AS (
  DELETE FROM reproq_leases l
   WHERE l.session_id IN (SELECT session_id FROM dead)
      OR NOT EXISTS (SELECT FROM reproq_sessions s WHERE s.session_id = l.session_id)
  RETURNING l.result_id, l.session_id
), verdict AS (
  SELECT result_id, session_id, crashes, poisonous,
         CASE WHEN cancel_requested THEN 'CANCELLED' WHEN attempts < max_attempts AND NOT poisonous THEN 'READY' ELSE 'FAILED' END AS status,
         CASE WHEN poisonous AND NOT cancel_requested THEN 'quarantined' ELSE 'lease_expiry' END AS kind,
         CASE WHEN poisonous AND NOT cancel_requested
              THEN 'It has taken its worker or executor with it ' || crashes || ' times, so it is not run again. The last time: its worker was lost'
              ELSE 'Worker heartbeat lost or process crashed' END AS message
    -- OFFSET 0: from the leases to their runs, also in a plan that was made when task_runs was empty.
    FROM lost CROSS JOIN LATERAL (SELECT cancel_requested, attempts, max_attempts, reproq_crashes FROM task_runs WHERE task_runs.result_id = lost.result_id OFFSET 0) AS t
         CROSS JOIN LATERAL (SELECT coalesce(t.reproq_crashes, 0) + 1 AS crashes) AS c
         CROSS JOIN LATERAL (SELECT $1::int > 0 AND crashes >= $1::int AS poisonous) AS p
), settled AS (
  UPDATE task_runs t
     SET status = v.status,
         finished_at = CASE WHEN v.status <> 'READY' THEN now() END,
         failed_at = CASE WHEN v.status = 'FAILED' THEN now() END,
         last_error = CASE WHEN v.status = 'FAILED' THEN v.kind || ': ' || v.message END,
         errors_json = t.errors_json || jsonb_build_object('kind', v.kind, 'message', v.message,
                                                           'attempt', t.attempts, 'worker_id', t.leased_by, 'at', now()),
         -- The lease settled nothing: whoever comes back with it is told that it is lost, not that its result was stored.
         reproq_lease_id = NULL, reproq_crashes = v.crashes, run_after = NULL, leased_until = NULL, leased_by = NULL, updated_at = now()
    FROM verdict v
   WHERE t.result_id = ANY (ARRAY(SELECT result_id FROM lost)) AND t.result_id = v.result_id AND t.status = 'RUNNING'
  RETURNING t.result_id, v.session_id, t.status, t.queue_name, t.task_path, t.priority, t.enqueued_at, t.attempts,
            t.reproq_fair_at, t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.expires_at
), ready AS (
  INSERT INTO reproq_ready (queue_name, claim_key, result_id, gated)
  SELECT queue_name, reproq_claim_key(priority, enqueued_at, reproq_fair_at), result_id, reproq_is_gated(lock_key, concurrency_key, concurrency_limit, reproq_rate_key, expires_at)
    FROM settled WHERE status = 'READY'
)
SELECT d.session_id::text AS "sessionId", d.worker_id AS "workerId", s.result_id::text AS run, s.status, s.queue_name AS queue,
       s.task_path AS task, s.attempts AS attempt,
       s.lock_key IS NOT NULL OR s.concurrency_key IS NOT NULL AS keyed
  FROM dead d FULL JOIN settled s USING (session_id)
