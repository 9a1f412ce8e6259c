-- Take pg_cron's jobs away; brokers are the scheduler again.
SELECT reproq_pg_cron_remove() AS done
