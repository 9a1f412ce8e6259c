-- Schedules by name, at most $1: those after name $2 (null: from the first), or the one named $3 (null: any).
SELECT p.name, p.cron_expr AS cron, p.reproq_time_zone AS "timeZone", p.task_path AS task, p.payload_json::text AS payload, p.queue_name AS queue, p.priority,
       p.max_attempts AS "maxAttempts", p.reproq_timeout_ms::float8 AS "timeoutMs", p.reproq_retry::text AS retry, p.concurrency_key AS "concurrencyKey",
       p.concurrency_limit AS "concurrencyLimit", p.reproq_missed AS missed, p.reproq_missed_window_ms::float8 AS "missedWindowMs", p.reproq_overlap AS overlap,
       p.reproq_jitter_ms::float8 AS "jitterMs", p.reproq_lock_key AS "lockKey", p.reproq_fair_key AS "fairKey", p.reproq_expires_ms::float8 AS "expiresInMs", p.enabled, p.reproq_source AS source, p.reproq_app AS app, p.next_run_at AS "nextRunAt", p.last_run_at AS "lastRunAt",
       p.reproq_skipped::float8 AS skipped, p.reproq_error AS error, p.reproq_error_at AS "errorAt", p.updated_at AS "updatedAt",
       floor(extract(epoch FROM now()) * 1000)::float8 AS "nowMs"
  FROM periodic_tasks p
 WHERE ($2::text IS NULL OR p.name > $2) AND ($3::text IS NULL OR p.name = $3)
 ORDER BY p.name LIMIT $1
