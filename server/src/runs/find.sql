-- Runs $1 (bigint[]), whole.
SELECT result_id::text AS id, task_path AS task, queue_name AS queue, priority, status, attempts, max_attempts AS "maxAttempts",
       timeout_seconds AS "timeoutSeconds", enqueued_at AS "enqueuedAt", run_after AS "runAfter", started_at AS "startedAt",
       finished_at AS "finishedAt", cancel_requested AS "cancelRequested", leased_by AS "leasedBy", last_error AS "lastError",
       (spec_json->'args')::text AS args, (spec_json->'kwargs')::text AS kwargs, return_json::text AS output,
       errors_json::text AS errors, worker_ids::text AS "workerIds",
       lock_key AS "lockKey", concurrency_key AS "concurrencyKey", concurrency_limit AS "concurrencyLimit", reproq_rate_key AS "rateKey",
       reproq_fair_key AS "fairKey", expires_at AS "expiresAt", reproq_retry::text AS retry,
       (SELECT b.key FROM reproq_blocked b WHERE b.result_id = task_runs.result_id) AS "blockedBy",
       workflow_id::text AS "workflowId", reproq_node AS node
  FROM task_runs WHERE result_id = ANY ($1::bigint[])
