-- Running code asks for another run-time limit: runs $1 (bigint[]) under leases $2 (uuid[]) have $3 (float8[]) ms left from now, but no
-- attempt has more than $4 ms from its lease, or its own timeout if that is longer. A lease that is over gets none.
-- Returns what is left of each, in ms: below 1, the maximum is reached.
UPDATE reproq_leases l
   SET run_until = least(now() + r.ms * interval '1 ms', t.last_attempted_at + greatest($4::float8 * interval '1 ms', t.timeout_seconds * interval '1 s'))
  FROM unnest($1::bigint[], $2::uuid[], $3::float8[]) AS r (result_id, lease_id, ms)
  JOIN task_runs t ON t.result_id = r.result_id AND t.reproq_lease_id = r.lease_id AND t.status = 'RUNNING'
 WHERE l.result_id = ANY ($1::bigint[]) AND t.result_id = ANY ($1::bigint[]) AND l.result_id = r.result_id
RETURNING t.reproq_lease_id::text AS lease, floor(extract(epoch FROM run_until - now()) * 1000)::float8 AS "leftMs"
