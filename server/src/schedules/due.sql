-- What there is to fire or to plan anew now, at most $1 schedules, while brokers are this database's scheduler. Returns a row each, with the database's time;
-- when there is none, one row that says how long until the next is due (ms, null when none is).
WITH due AS (
  SELECT p.* , p.xmin::text AS version FROM periodic_tasks p
   WHERE p.enabled AND p.reproq_error IS NULL AND (p.next_run_at <= now() OR p.reproq_replan)
     AND EXISTS (SELECT FROM reproq_scheduler WHERE mode = 'broker')
   ORDER BY p.next_run_at, p.name LIMIT $1
)
SELECT d.name, d.version, d.cron_expr AS cron, d.reproq_time_zone AS "timeZone", d.task_path AS task, d.payload_json::text AS payload, d.queue_name AS queue,
       d.priority, d.max_attempts AS "maxAttempts", d.concurrency_key AS "concurrencyKey", d.concurrency_limit AS "concurrencyLimit",
       d.reproq_timeout_ms::float8 AS "timeoutMs", d.reproq_missed AS missed, d.reproq_missed_window_ms::float8 AS "missedWindowMs",
       d.reproq_jitter_ms::float8 AS "jitterMs", d.reproq_replan AS replan,
       -- As text, because Django's own instants have microseconds.
       to_char(d.next_run_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS slot,
       floor(extract(epoch FROM now()) * 1000)::float8 AS "nowMs",
       CASE WHEN d.name IS NULL THEN
         (SELECT extract(epoch FROM min(p.next_run_at) - now())::float8 * 1000 FROM periodic_tasks p
           WHERE p.enabled AND p.reproq_error IS NULL AND p.next_run_at > now() AND isfinite(p.next_run_at))
       END AS "nextMs"
  FROM (VALUES (1)) AS always LEFT JOIN due d ON true
