-- Each schedule and its job of pg_cron, with the time zone pg_cron reads its expressions in.
SELECT name, job, schedule, state, coalesce(current_setting('cron.timezone', true), 'GMT') AS zone FROM reproq_pg_cron_status()
