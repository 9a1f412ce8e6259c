-- Leases that sessions $1 (bigint[]), as long as connections $2 (int[]) speak for them, hold in the database though nobody knows them
-- there: all but those of runs $3 (bigint[]). A session that has a newer connection is another link's, perhaps another broker's.
SELECT l.result_id::text AS run, t.reproq_lease_id::text AS lease
  FROM unnest($1::bigint[], $2::int[]) AS mine (session_id, conn)
  JOIN reproq_sessions s ON s.session_id = mine.session_id AND s.conn = mine.conn
  JOIN reproq_leases l ON l.session_id = s.session_id
  JOIN task_runs t USING (result_id)
 WHERE l.result_id <> ALL ($3::bigint[]) AND t.status = 'RUNNING' AND t.reproq_lease_id IS NOT NULL
