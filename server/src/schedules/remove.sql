-- Delete schedule $1. Its runs stay.
WITH gone AS (DELETE FROM periodic_tasks WHERE name = $1 RETURNING name)
SELECT name, pg_notify('reproq_schedules', '') AS told FROM gone
