-- A new operation: action $1 on the runs that filter $2 (json) means among those there are now, for whoever holds token $3.
INSERT INTO reproq_operations (action, filter, requested_by, first_id, cursor_id, last_id)
SELECT $1, $2::jsonb, $3, low.id, low.id, (SELECT coalesce(max(result_id), 0) FROM task_runs)
  FROM (SELECT coalesce(min(result_id), 1) - 1 AS id FROM task_runs) AS low
RETURNING operation_id::text AS id
