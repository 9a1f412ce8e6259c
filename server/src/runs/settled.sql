-- Which of runs $1 (bigint[]) are final, or gone (status null, and all else).
SELECT w.result_id::text AS id, t.status, t.queue_name AS queue, t.task_path AS task, t.attempts AS attempt
  FROM unnest($1::bigint[]) AS w (result_id) LEFT JOIN LATERAL (SELECT status, queue_name, task_path, attempts FROM task_runs WHERE task_runs.result_id = w.result_id OFFSET 0) AS t ON true
 WHERE t.status IS NULL OR t.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')
