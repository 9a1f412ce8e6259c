-- RUNNING → SUCCESSFUL: runs $1 (bigint[]) under leases $2 (uuid[]) with outputs $3 (json text[]). What finalize.sql does, for the
-- one verdict that nearly every attempt gets. Returns the leases that held, and whether one
-- of their runs had a key that others may wait for; in one row: the driver's cost is per row.
WITH r AS (
  SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS r (result_id, lease_id, output)
), done AS (
  UPDATE task_runs t
     SET status = 'SUCCESSFUL', return_json = r.output::jsonb, finished_at = now(), updated_at = now(),
         last_error = NULL, failed_at = NULL, leased_until = NULL, leased_by = NULL
    FROM r
   WHERE t.result_id = r.result_id AND t.reproq_lease_id = r.lease_id AND t.status = 'RUNNING'
  RETURNING t.result_id, t.reproq_lease_id, t.lock_key IS NOT NULL OR t.concurrency_key IS NOT NULL AS keyed
), freed AS (
  DELETE FROM reproq_leases l USING done d WHERE l.result_id = d.result_id
)
SELECT coalesce(string_agg(reproq_lease_id::text, ','), '') AS leases, coalesce(bool_or(keyed), false) AS keyed FROM done
