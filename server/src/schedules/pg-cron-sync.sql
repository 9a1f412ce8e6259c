-- Bring pg_cron's jobs in step with the schedules.
SELECT reproq_pg_cron_sync() AS done
