-- A worker says hello: which of the leases it holds (runs $2 bigint[], leases $3 uuid[]) are still good? Those come under session $1.
-- keep and cancel: still leased; finalized: settled by this very lease; lost: somebody else's, or nobody's; again: it was still leased when
-- this statement began, and somebody was changing it. Who asks again sees to what.
WITH h AS (
  SELECT DISTINCT * FROM unnest($2::bigint[], $3::uuid[]) AS h (result_id, lease_id)
), good AS MATERIALIZED (
  -- Locked, so that a reaper at work on the same runs is finished first.
  SELECT t.result_id, h.lease_id FROM task_runs t JOIN h ON h.result_id = t.result_id AND h.lease_id = t.reproq_lease_id
   WHERE t.status = 'RUNNING' ORDER BY t.result_id FOR NO KEY UPDATE OF t
), kept AS (
  INSERT INTO reproq_leases (result_id, session_id) SELECT result_id, $1::bigint FROM good
  ON CONFLICT (result_id) DO UPDATE SET session_id = excluded.session_id
)
SELECT h.result_id::text AS run, h.lease_id::text AS lease,
       CASE WHEN good.lease_id IS NOT NULL THEN CASE WHEN t.cancel_requested THEN 'cancel' ELSE 'keep' END
            WHEN t.reproq_lease_id = h.lease_id AND t.status <> 'RUNNING' THEN 'finalized'
            WHEN t.reproq_lease_id = h.lease_id THEN 'again'
            ELSE 'lost' END AS verdict,
       t.queue_name AS queue, t.task_path AS task, t.attempts AS attempt, t.max_attempts AS "maxAttempts", t.reproq_retry::text AS retry, t.reproq_crashes AS crashes
  FROM h LEFT JOIN task_runs t USING (result_id) LEFT JOIN good USING (result_id, lease_id)
