-- Newest first: at most $5 runs below id $4 (null: from the top), with status $1, queue $2, task $3, enqueued before $6 and not before $7,
-- finished before $8 and not before $9, with $10 in last_error (null: any).
SELECT result_id::text AS id, task_path AS task, queue_name AS queue, priority, status, attempts, max_attempts AS "maxAttempts",
       timeout_seconds AS "timeoutSeconds", enqueued_at AS "enqueuedAt", run_after AS "runAfter", started_at AS "startedAt",
       finished_at AS "finishedAt", cancel_requested AS "cancelRequested", leased_by AS "leasedBy", last_error AS "lastError"
  FROM task_runs
 WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR queue_name = $2) AND ($3::text IS NULL OR task_path = $3)
   AND ($4::bigint IS NULL OR result_id < $4)
   AND ($6::timestamptz IS NULL OR enqueued_at < $6) AND ($7::timestamptz IS NULL OR enqueued_at >= $7)
   AND ($8::timestamptz IS NULL OR finished_at < $8) AND ($9::timestamptz IS NULL OR finished_at >= $9)
   AND ($10::text IS NULL OR strpos(lower(last_error), lower($10)) > 0)
 ORDER BY result_id DESC LIMIT $5
