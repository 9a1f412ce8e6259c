-- A worker says hello: which of the leases it holds (runs $2 bigint[], leases $3 uuid[]) are still good? Those come under session $1.
-- keep and cancel: still leased; finalized: settled by this very lease; lost: somebody else's, or nobody's; again: it was still leased when
-- this statement began, and somebody was changing it. Who asks again sees to what. A worker may hold thousands: each is looked up by its
-- key (LATERAL) or by binary search, never compared with every other.
WITH h AS MATERIALIZED (
  SELECT DISTINCT * FROM unnest($2::bigint[], $3::uuid[]) AS h (result_id, lease_id) ORDER BY result_id, lease_id
), good AS MATERIALIZED (
  -- Locked in the order of their ids, so that a reaper at work on the same runs is finished first.
  SELECT t.* FROM h CROSS JOIN LATERAL (
    SELECT r.result_id, r.reproq_lease_id FROM task_runs r
     WHERE r.result_id = h.result_id AND r.reproq_lease_id = h.lease_id AND r.status = 'RUNNING' FOR NO KEY UPDATE
  ) AS t
), kept AS (
  INSERT INTO reproq_leases (result_id, session_id) SELECT result_id, $1::bigint FROM good
  ON CONFLICT (result_id) DO UPDATE SET session_id = excluded.session_id
), sure AS MATERIALIZED (
  SELECT array_agg(reproq_lease_id ORDER BY reproq_lease_id) AS leases, array_agg(result_id ORDER BY reproq_lease_id) AS runs FROM good
)
SELECT h.result_id::text AS run, h.lease_id::text AS lease,
       CASE WHEN h.lease_id = (SELECT leases FROM sure)[place] AND h.result_id = (SELECT runs FROM sure)[place]
            THEN CASE WHEN t.cancel_requested THEN 'cancel' ELSE 'keep' END
            WHEN t.reproq_lease_id = h.lease_id AND t.status <> 'RUNNING' THEN 'finalized'
            WHEN t.reproq_lease_id = h.lease_id THEN 'again'
            ELSE 'lost' END AS verdict,
       t.queue_name AS queue, t.task_path AS task, t.attempts AS attempt, t.max_attempts AS "maxAttempts", t.reproq_retry::text AS retry, t.reproq_crashes AS crashes
  FROM (SELECT *, width_bucket(lease_id, (SELECT leases FROM sure)) AS place FROM h) AS h
  LEFT JOIN LATERAL (SELECT * FROM task_runs r WHERE r.result_id = h.result_id OFFSET 0) AS t ON true
