-- Scheduled → ready, at most $1 due runs; and queues whose hold has ended are let go. Returns the queues of both, and how long until
-- the next is due (ms, null when nothing is). A hold that has ended holds nothing; if somebody has locked its row, its queue is
-- returned all the same, and once a second until he lets go.
WITH due AS MATERIALIZED (
  SELECT ctid AS place, run_after, result_id FROM reproq_scheduled WHERE run_after <= now() ORDER BY run_after, result_id LIMIT $1 FOR UPDATE SKIP LOCKED
), last AS (
  SELECT run_after, result_id FROM due ORDER BY run_after DESC, result_id DESC LIMIT 1
), gone AS (
  -- By place: a join with stale statistics reads all that is scheduled.
  DELETE FROM reproq_scheduled WHERE ctid = ANY (ARRAY(SELECT place FROM due)) RETURNING result_id
), ready AS (
  INSERT INTO reproq_ready (queue_name, claim_key, result_id, gated)
  SELECT t.queue_name, reproq_claim_key(t.priority, t.enqueued_at, t.reproq_fair_at), t.result_id,
         reproq_is_gated(t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.expires_at)
    -- OFFSET 0: from the entries to their runs, also in a plan that was made when task_runs was empty.
    FROM gone CROSS JOIN LATERAL (SELECT * FROM task_runs WHERE task_runs.result_id = gone.result_id OFFSET 0) AS t WHERE t.status = 'READY'
  ON CONFLICT DO NOTHING
  RETURNING queue_name
), ended AS (
  SELECT queue_name FROM reproq_queue_controls WHERE reproq_held_until <= now()
), let_go AS (
  UPDATE reproq_queue_controls SET reproq_held_until = NULL, updated_at = now()
   WHERE queue_name IN (SELECT c.queue_name FROM reproq_queue_controls c WHERE c.reproq_held_until <= now() FOR UPDATE SKIP LOCKED) RETURNING queue_name
)
SELECT (SELECT coalesce(array_agg(DISTINCT queue_name), '{}') FROM (SELECT queue_name FROM ready UNION ALL SELECT queue_name FROM ended) AS either) AS queues,
       (SELECT count(*)::int FROM due) AS promoted,
       least((SELECT 1000 FROM ended WHERE queue_name NOT IN (SELECT queue_name FROM let_go) LIMIT 1),
             (SELECT extract(epoch FROM min(c.reproq_held_until) - now())::float8 * 1000 FROM reproq_queue_controls c WHERE c.reproq_held_until > now()),
             -- Behind the last of them in the index: an anti-join could read everything too.
             (SELECT extract(epoch FROM s.run_after - now())::float8 * 1000 FROM reproq_scheduled s
               WHERE (s.run_after, s.result_id) > (coalesce((SELECT run_after FROM last), '-infinity'), coalesce((SELECT result_id FROM last), 0))
               ORDER BY s.run_after, s.result_id LIMIT 1)) AS "nextMs"
