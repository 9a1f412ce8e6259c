-- Run $1 if lease $2 is its latest.
SELECT attempts AS attempt, max_attempts AS "maxAttempts", queue_name AS queue, task_path AS task, leased_by AS "workerId", cancel_requested AS "cancelRequested",
       reproq_retry::text AS retry, reproq_crashes AS crashes
  FROM task_runs WHERE result_id = $1 AND reproq_lease_id = $2
