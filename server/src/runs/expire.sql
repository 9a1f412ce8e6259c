-- WAITING or READY → CANCELLED, saying so, for runs that have expired; at most $1. Returns one row per run, or one without (run null); each
-- says whether there may be more now, and ms until the next expires (null: none will). A run that somebody holds locked is left for the
-- next time, for it may just be starting. Nothing here joins two of the lists: one lock is held until all are done.
WITH due AS MATERIALIZED (
  SELECT ctid AS place, result_id FROM reproq_expiring WHERE expires_at <= now() ORDER BY expires_at, result_id LIMIT $1 FOR UPDATE SKIP LOCKED
), target AS MATERIALIZED (
  SELECT due.place, t.result_id FROM due JOIN task_runs t USING (result_id) WHERE t.result_id = ANY (ARRAY(SELECT result_id FROM due)) ORDER BY t.result_id FOR UPDATE OF t SKIP LOCKED
), over AS (
  -- Its run ran, runs, has another expires_at by now (and another entry), or is cancelled here; or is gone.
  DELETE FROM reproq_expiring WHERE ctid = ANY (ARRAY(
    SELECT place FROM target UNION ALL SELECT place FROM due WHERE NOT EXISTS (SELECT FROM task_runs t WHERE t.result_id = due.result_id OFFSET 0)))
  RETURNING result_id
), expired AS MATERIALIZED (
  SELECT * FROM reproq_end_expired(ARRAY(SELECT result_id FROM target))
)
SELECT x.result_id::text AS run, x.queue_name AS queue, x.task_path AS task, x.attempts AS attempt,
       x.lock_key IS NOT NULL OR x.concurrency_key IS NOT NULL AS keyed,
       (SELECT count(*) FROM over) > 0 AND (SELECT count(*) FROM due) = $1 AS more,
       (SELECT extract(epoch FROM e.expires_at - now())::float8 * 1000 FROM reproq_expiring e WHERE e.expires_at > now() ORDER BY e.expires_at LIMIT 1) AS "nextMs"
  FROM (VALUES (1)) AS always LEFT JOIN expired x ON true
