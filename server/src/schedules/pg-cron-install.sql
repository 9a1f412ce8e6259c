-- Make pg_cron this database's scheduler, with a job for each schedule that follows it.
SELECT reproq_pg_cron_install() AS done
