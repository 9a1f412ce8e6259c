-- How many runs filter $1 (json) means, among the newest $2. Returns also how many were looked at: fewer than $2 is all there are.
WITH looked AS MATERIALIZED (
  SELECT reproq_matches($1::jsonb, t.status, t.queue_name, t.task_path, t.enqueued_at, t.finished_at, t.last_error) AS is_meant
    FROM task_runs t ORDER BY t.result_id DESC LIMIT $2
)
SELECT count(*) FILTER (WHERE is_meant)::int AS matched, count(*)::int AS looked FROM looked
