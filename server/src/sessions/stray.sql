-- Leases that sessions $1 (bigint[], ascending), as long as connections $2 (int[], in that order) speak for them, hold in the database
-- though nobody knows them there: all but those of runs $3 (bigint[], ascending). A session that has a newer connection is another
-- link's, perhaps another broker's. Every lease is looked at once, and each look is a binary search: there may be thousands of all three.
WITH mine AS MATERIALIZED (
  SELECT array_agg(s.session_id ORDER BY s.session_id) AS sessions FROM reproq_sessions s
   WHERE s.session_id = ANY ($1::bigint[]) AND s.conn = ($2::int[])[width_bucket(s.session_id, $1::bigint[])]
), unknown AS MATERIALIZED (
  SELECT l.result_id FROM reproq_leases l
   WHERE l.session_id = (SELECT sessions FROM mine)[width_bucket(l.session_id, (SELECT sessions FROM mine))]
     AND l.result_id IS DISTINCT FROM ($3::bigint[])[width_bucket(l.result_id, $3::bigint[])]
)
SELECT u.result_id::text AS run, t.reproq_lease_id::text AS lease
  FROM unknown u CROSS JOIN LATERAL (
    SELECT r.reproq_lease_id FROM task_runs r WHERE r.result_id = u.result_id AND r.status = 'RUNNING' AND r.reproq_lease_id IS NOT NULL OFFSET 0
  ) AS t
