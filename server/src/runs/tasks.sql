-- Tasks of the newest $1 runs, by name: how those runs stand, their queues, and when the last was enqueued.
SELECT task_path AS name, count(*)::int AS runs,
       count(*) FILTER (WHERE status = 'READY')::int AS ready, count(*) FILTER (WHERE status = 'RUNNING')::int AS running,
       count(*) FILTER (WHERE status = 'SUCCESSFUL')::int AS successful, count(*) FILTER (WHERE status = 'FAILED')::int AS failed,
       array_agg(DISTINCT queue_name ORDER BY queue_name) AS queues, max(enqueued_at) AS "lastEnqueuedAt"
  FROM (SELECT task_path, status, queue_name, enqueued_at FROM task_runs ORDER BY result_id DESC LIMIT $1) newest
 GROUP BY task_path
 ORDER BY task_path
