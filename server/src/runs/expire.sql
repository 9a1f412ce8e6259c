-- WAITING or READY → CANCELLED, saying so, for runs that have expired; at most $1. Returns one row per run, or one without (run null); each
-- says whether there may be more now, and ms until the next expires (null: none will). A run that somebody holds locked is left for the
-- next time, for it may just be starting. Nothing here joins two of the lists: one lock is held until all are done.
WITH due AS MATERIALIZED (
  SELECT ctid AS place, result_id FROM reproq_expiring WHERE expires_at <= now() ORDER BY expires_at, result_id LIMIT $1 FOR UPDATE SKIP LOCKED
), target AS MATERIALIZED (
  SELECT due.place, t.result_id FROM due JOIN task_runs t USING (result_id) ORDER BY t.result_id FOR UPDATE OF t SKIP LOCKED
), over AS (
  -- Its run ran, runs, has another expires_at by now (and another entry), or is cancelled here; or is gone.
  DELETE FROM reproq_expiring WHERE ctid = ANY (ARRAY(
    SELECT place FROM target UNION ALL SELECT place FROM due WHERE NOT EXISTS (SELECT FROM task_runs t WHERE t.result_id = due.result_id)))
  RETURNING result_id
), expired AS (
  UPDATE task_runs t
     SET status = 'CANCELLED', finished_at = now(), updated_at = now(), last_error = 'expired: ' || reproq_expiry_text(t.expires_at),
         errors_json = t.errors_json || jsonb_build_object('kind', 'expired', 'message', reproq_expiry_text(t.expires_at), 'at', now())
    FROM target g
   WHERE t.result_id = g.result_id AND t.status IN ('WAITING', 'READY') AND t.expires_at <= now()
  RETURNING t.result_id, t.queue_name, t.task_path, t.attempts, t.priority, t.enqueued_at, t.run_after, t.reproq_fair_at, t.lock_key, t.concurrency_key
), unready AS (
  DELETE FROM reproq_ready r USING expired x
   WHERE r.queue_name = x.queue_name AND r.claim_key = reproq_claim_key(x.priority, x.enqueued_at, x.reproq_fair_at) AND r.result_id = x.result_id
), unblocked AS (
  DELETE FROM reproq_blocked b USING expired x WHERE b.result_id = x.result_id
), unscheduled AS (
  DELETE FROM reproq_scheduled s USING expired x WHERE s.run_after = x.run_after AND s.result_id = x.result_id
)
SELECT x.result_id::text AS run, x.queue_name AS queue, x.task_path AS task, x.attempts AS attempt,
       x.lock_key IS NOT NULL OR x.concurrency_key IS NOT NULL AS keyed,
       (SELECT count(*) FROM over) > 0 AND (SELECT count(*) FROM due) = $1 AS more,
       (SELECT extract(epoch FROM e.expires_at - now())::float8 * 1000 FROM reproq_expiring e WHERE e.expires_at > now() ORDER BY e.expires_at LIMIT 1) AS "nextMs"
  FROM (VALUES (1)) AS always LEFT JOIN expired x ON true
