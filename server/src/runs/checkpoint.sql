-- What the next attempts of runs $1 (bigint[]) should know: checkpoints $3 (json text[]) under leases $2 (uuid[]). A lease that is over stores none.
UPDATE task_runs t SET reproq_checkpoint = r.data::json::text
  FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS r (result_id, lease_id, data)
 WHERE t.result_id = ANY ($1::bigint[]) AND t.result_id = r.result_id AND t.reproq_lease_id = r.lease_id AND t.status = 'RUNNING'
RETURNING t.reproq_lease_id::text AS lease
