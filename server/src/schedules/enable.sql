-- Pause or resume ($2) schedule $1; resumed, it goes on with $3, its next slot from now: what came while it was paused was not missed.
WITH changed AS (
  UPDATE periodic_tasks p
     SET enabled = $2, next_run_at = CASE WHEN $2 AND NOT p.enabled THEN $3::timestamptz ELSE p.next_run_at END, reproq_replan = false,
         reproq_error = NULL, reproq_error_at = NULL, updated_at = now()
   WHERE p.name = $1 RETURNING p.name
)
SELECT name, pg_notify('reproq_schedules', '') AS told FROM changed
