-- Workflow $1 (uuid) as far as it is known: its own row (null for what Reproq made a moment ago), and its runs in their order.
SELECT t.result_id::text AS id, t.reproq_node AS node, t.task_path AS task, t.queue_name AS queue, t.status, coalesce(reproq_outcome(t.status, t.errors_json) = 'SKIPPED', false) AS skipped,
       coalesce(t.reproq_when, 'success') AS "when", ARRAY(SELECT d.parent_id::text FROM reproq_dependencies d WHERE d.child_id = t.result_id ORDER BY d.parent_id) AS after,
       t.attempts, t.enqueued_at AS "enqueuedAt", t.started_at AS "startedAt", t.finished_at AS "finishedAt", t.last_error AS "lastError", w.name, w.created_at AS "createdAt"
  FROM task_runs t LEFT JOIN reproq_workflows w USING (workflow_id)
 WHERE t.workflow_id = $1::uuid ORDER BY t.result_id
