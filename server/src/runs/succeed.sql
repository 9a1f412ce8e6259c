-- RUNNING → SUCCESSFUL: runs $1 (bigint[], in the order of $2) under leases $2 (uuid[], ascending, each once) with outputs $3 (json texts in
-- the order of $2, as one json array of strings). What finalize.sql does, for the one verdict that nearly every attempt gets. Returns the leases that held,
-- and whether one of their runs had a key that others may wait for; in one row: the driver's cost is per row.
-- No join: a plan made while the tables were empty would read all of them beside all of the batch. width_bucket is a binary search.
WITH done AS (
  UPDATE task_runs t
     SET status = 'SUCCESSFUL', return_json = ($3::jsonb ->> width_bucket(t.reproq_lease_id, $2::uuid[]) - 1)::jsonb, finished_at = now(), updated_at = now(),
         last_error = NULL, failed_at = NULL, leased_until = NULL, leased_by = NULL
   WHERE t.result_id = ANY ($1::bigint[]) AND t.status = 'RUNNING' AND t.reproq_lease_id = ($2::uuid[])[width_bucket(t.reproq_lease_id, $2::uuid[])]
         -- A lease is a proof for its own run alone.
     AND t.result_id = ($1::bigint[])[width_bucket(t.reproq_lease_id, $2::uuid[])]
  RETURNING t.result_id, t.reproq_lease_id, t.lock_key IS NOT NULL OR t.concurrency_key IS NOT NULL AS keyed
), freed AS (
  DELETE FROM reproq_leases WHERE result_id = ANY (ARRAY(SELECT result_id FROM done))
)
SELECT coalesce(string_agg(reproq_lease_id::text, ','), '') AS leases, coalesce(bool_or(keyed), false) AS keyed FROM done
