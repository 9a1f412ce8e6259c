-- Why runs $1 (bigint[]) could not be finalized under leases $2 (uuid[]): this lease already settled it (duplicate),
-- it ended otherwise (already_final), or it is held, waiting or gone (stale_lease). One row per input.
SELECT r.result_id::text AS run, r.lease_id::text AS lease,
       CASE WHEN t.reproq_lease_id = r.lease_id AND t.status <> 'RUNNING' THEN 'duplicate'
            WHEN t.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') THEN 'already_final'
            ELSE 'stale_lease' END AS verdict
  FROM unnest($1::bigint[], $2::uuid[]) AS r (result_id, lease_id) LEFT JOIN LATERAL (
         -- OFFSET 0: one by one, also in a plan that was made when task_runs was empty.
         SELECT status, reproq_lease_id FROM task_runs WHERE task_runs.result_id = r.result_id OFFSET 0) AS t ON true
