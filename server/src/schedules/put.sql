-- Create schedules, or change what differs: $1 is a json array of them, of source $2 and program $3. With $4 also remove those of that source and
-- program that are not among them. `enabled` null leaves that as it is. Returns each with what was done: created, updated, unchanged, removed.
WITH given AS MATERIALIZED (
  SELECT * FROM jsonb_to_recordset($1::jsonb) AS g (
    name text, cron text, "timeZone" text, "nextRunAt" timestamptz, task text, payload jsonb, queue text, priority integer, "maxAttempts" integer,
    "timeoutMs" bigint, retry jsonb, "concurrencyKey" text, "concurrencyLimit" integer, missed text, "lockKey" text, "fairKey" text, "expiresInMs" bigint, "missedWindowMs" bigint, overlap text, "jitterMs" bigint, enabled boolean)
), put AS (
  INSERT INTO periodic_tasks AS p (name, cron_expr, reproq_time_zone, next_run_at, task_path, payload_json, queue_name, priority, max_attempts, reproq_timeout_ms,
                                   reproq_retry, concurrency_key, concurrency_limit, reproq_missed, reproq_missed_window_ms, reproq_overlap, reproq_jitter_ms, reproq_lock_key, reproq_fair_key, reproq_expires_ms, enabled, reproq_source, reproq_app)
  SELECT name, cron, "timeZone", "nextRunAt", task, payload, queue, priority, "maxAttempts", "timeoutMs",
         nullif(retry, 'null'), "concurrencyKey", "concurrencyLimit", missed, "missedWindowMs", overlap, "jitterMs", "lockKey", "fairKey", "expiresInMs", coalesce(enabled, true), $2, $3
    FROM given ORDER BY name
  ON CONFLICT (name) DO UPDATE
    SET cron_expr = excluded.cron_expr, reproq_time_zone = excluded.reproq_time_zone, task_path = excluded.task_path, payload_json = excluded.payload_json,
        queue_name = excluded.queue_name, priority = excluded.priority, max_attempts = excluded.max_attempts, reproq_timeout_ms = excluded.reproq_timeout_ms,
        reproq_retry = excluded.reproq_retry, concurrency_key = excluded.concurrency_key, concurrency_limit = excluded.concurrency_limit, reproq_missed = excluded.reproq_missed,
        reproq_missed_window_ms = excluded.reproq_missed_window_ms, reproq_overlap = excluded.reproq_overlap, reproq_jitter_ms = excluded.reproq_jitter_ms,
        reproq_lock_key = excluded.reproq_lock_key, reproq_fair_key = excluded.reproq_fair_key, reproq_expires_ms = excluded.reproq_expires_ms,
        enabled = coalesce((SELECT g.enabled FROM given g WHERE g.name = p.name), p.enabled), reproq_source = excluded.reproq_source, reproq_app = excluded.reproq_app,
        -- A slot that is waited for stays, unless the expression is another one.
        next_run_at = CASE WHEN (p.cron_expr, p.reproq_time_zone) IS DISTINCT FROM (excluded.cron_expr, excluded.reproq_time_zone) OR NOT p.enabled THEN excluded.next_run_at ELSE p.next_run_at END,
        reproq_replan = false, reproq_error = NULL, reproq_error_at = NULL, updated_at = now()
    WHERE (p.cron_expr, p.reproq_time_zone, p.task_path, p.payload_json, p.queue_name, p.priority, p.max_attempts, p.reproq_timeout_ms, p.reproq_retry, p.concurrency_key,
           p.concurrency_limit, p.reproq_missed, p.reproq_missed_window_ms, p.reproq_overlap, p.reproq_jitter_ms, p.reproq_lock_key, p.reproq_fair_key, p.reproq_expires_ms, p.reproq_source, p.reproq_app, p.reproq_error)
          IS DISTINCT FROM
          (excluded.cron_expr, excluded.reproq_time_zone, excluded.task_path, excluded.payload_json, excluded.queue_name, excluded.priority, excluded.max_attempts,
           excluded.reproq_timeout_ms, excluded.reproq_retry, excluded.concurrency_key, excluded.concurrency_limit, excluded.reproq_missed, excluded.reproq_missed_window_ms,
           excluded.reproq_overlap, excluded.reproq_jitter_ms, excluded.reproq_lock_key, excluded.reproq_fair_key, excluded.reproq_expires_ms, excluded.reproq_source, excluded.reproq_app, NULL::text)
       OR p.enabled IS DISTINCT FROM coalesce((SELECT g.enabled FROM given g WHERE g.name = p.name), p.enabled)
  RETURNING p.name, (p.xmax::text = '0') AS created
), removed AS (
  DELETE FROM periodic_tasks p WHERE $4::boolean AND p.reproq_source = $2 AND p.reproq_app IS NOT DISTINCT FROM $3 AND NOT EXISTS (SELECT FROM given g WHERE g.name = p.name)
  RETURNING p.name
), done AS (
  SELECT g.name, CASE WHEN p.name IS NULL THEN 'unchanged' WHEN p.created THEN 'created' ELSE 'updated' END AS outcome FROM given g LEFT JOIN put p USING (name)
  UNION ALL SELECT name, 'removed' FROM removed
)
SELECT name, outcome, CASE WHEN outcome <> 'unchanged' THEN pg_notify('reproq_schedules', '') END AS told FROM done ORDER BY name
