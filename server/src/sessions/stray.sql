-- Leases that sessions $1 (bigint[]) hold in the database though nobody knows them there: all but those of runs $2 (bigint[]).
SELECT l.result_id::text AS run, t.reproq_lease_id::text AS lease
  FROM reproq_leases l JOIN task_runs t USING (result_id)
 WHERE l.session_id = ANY ($1::bigint[]) AND l.result_id <> ALL ($2::bigint[]) AND t.status = 'RUNNING' AND t.reproq_lease_id IS NOT NULL
