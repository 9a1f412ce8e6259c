-- Runs $1 (bigint[]), whole. Of those that are READY also what could keep them waiting: a time, their queue, a key, or that no worker serves it.
SELECT t.result_id::text AS id, task_path AS task, t.queue_name AS queue, priority, status, attempts, max_attempts AS "maxAttempts",
       timeout_seconds AS "timeoutSeconds", enqueued_at AS "enqueuedAt", run_after AS "runAfter", started_at AS "startedAt",
       finished_at AS "finishedAt", cancel_requested AS "cancelRequested", leased_by AS "leasedBy", last_error AS "lastError",
       (spec_json->'args')::text AS args, (spec_json->'kwargs')::text AS kwargs, return_json::text AS output,
       errors_json::text AS errors, worker_ids::text AS "workerIds",
       lock_key AS "lockKey", concurrency_key AS "concurrencyKey", concurrency_limit AS "concurrencyLimit", reproq_rate_key AS "rateKey",
       reproq_fair_key AS "fairKey", expires_at AS "expiresAt", reproq_retry::text AS retry,
       workflow_id::text AS "workflowId", reproq_node AS node, w.*
  FROM task_runs t LEFT JOIN LATERAL (
    SELECT t.run_after > now() AS scheduled, c.paused, c.paused_at AS "pausedAt", c.reason AS "pauseReason", CASE WHEN c.reproq_held_until > now() THEN c.reproq_held_until END AS "heldUntil",
           (SELECT b.key FROM reproq_blocked b WHERE b.result_id = t.result_id) AS "blockedBy",
           -- The Go worker has no session; it is alive as long as Reproq's tools call it so.
           EXISTS (SELECT FROM reproq_workers o CROSS JOIN jsonb_array_elements_text(CASE jsonb_typeof(o.queues) WHEN 'array' THEN o.queues ELSE '[]' END) AS q (name)
                    WHERE (q.name = t.queue_name OR (q.name LIKE '%*' AND starts_with(t.queue_name, left(q.name, -1))))
                      AND (o.last_seen_at > now() - interval '2 min' OR EXISTS (SELECT FROM reproq_sessions s WHERE s.worker_id = o.worker_id AND s.expires_at > now()))) AS served
      FROM (VALUES (1)) AS one LEFT JOIN reproq_queue_controls c ON c.queue_name = t.queue_name WHERE t.status = 'READY'
  ) w ON true
 WHERE t.result_id = ANY ($1::bigint[])
