-- Every queue that runs wait in, that a connected worker serves, or that has a control row. Counts stop at $1.
WITH RECURSIVE waiting AS (
  -- From name to name through the index, however many runs wait under each.
  (SELECT queue_name FROM reproq_ready ORDER BY queue_name LIMIT 1)
  UNION ALL
  SELECT (SELECT r.queue_name FROM reproq_ready r WHERE r.queue_name > w.queue_name ORDER BY r.queue_name LIMIT 1) FROM waiting w WHERE w.queue_name IS NOT NULL
), blocked AS (
  (SELECT queue_name COLLATE "C" AS queue_name FROM reproq_blocked ORDER BY queue_name COLLATE "C" LIMIT 1)
  UNION ALL
  SELECT (SELECT b.queue_name COLLATE "C" FROM reproq_blocked b WHERE b.queue_name COLLATE "C" > w.queue_name ORDER BY b.queue_name COLLATE "C" LIMIT 1) FROM blocked w WHERE w.queue_name IS NOT NULL
), scheduled AS MATERIALIZED (
  SELECT t.queue_name, count(*)::int AS runs
    FROM (SELECT result_id FROM reproq_scheduled ORDER BY run_after, result_id LIMIT $1) s JOIN task_runs t USING (result_id) GROUP BY 1
), running AS MATERIALIZED (
  SELECT t.queue_name, count(*)::int AS runs
    FROM (SELECT result_id FROM reproq_leases ORDER BY result_id LIMIT $1) l JOIN task_runs t USING (result_id) GROUP BY 1
), served AS MATERIALIZED (
  SELECT q.name, count(*)::int AS workers
    FROM reproq_sessions s JOIN reproq_workers w USING (worker_id) CROSS JOIN jsonb_array_elements_text(w.queues) AS q (name)
   WHERE s.expires_at > now() GROUP BY 1
), queue AS (
  SELECT queue_name FROM waiting WHERE queue_name IS NOT NULL
  UNION SELECT queue_name COLLATE "default" FROM blocked WHERE queue_name IS NOT NULL
  UNION SELECT queue_name FROM scheduled
  UNION SELECT queue_name FROM running
  UNION SELECT name FROM served WHERE name NOT LIKE '%*'
  UNION SELECT queue_name FROM reproq_queue_controls WHERE paused OR reproq_held_until > now()
)
SELECT q.queue_name AS name,
       (SELECT count(*)::int FROM (SELECT FROM reproq_ready r WHERE r.queue_name = q.queue_name LIMIT $1) r) AS ready,
       (SELECT count(*)::int FROM (SELECT FROM reproq_blocked b WHERE b.queue_name = q.queue_name COLLATE "C" LIMIT $1) b) AS blocked,
       coalesce((SELECT runs FROM scheduled s WHERE s.queue_name = q.queue_name), 0) AS scheduled,
       coalesce((SELECT runs FROM running r WHERE r.queue_name = q.queue_name), 0) AS running,
       (SELECT min(t.enqueued_at) FROM (SELECT r.result_id FROM reproq_ready r WHERE r.queue_name = q.queue_name ORDER BY r.claim_key, r.result_id LIMIT 100) r
          JOIN task_runs t USING (result_id)) AS "oldestReadyAt",
       coalesce((SELECT sum(workers)::int FROM served s WHERE s.name = q.queue_name OR (s.name LIKE '%*' AND starts_with(q.queue_name, left(s.name, -1)))), 0) AS workers,
       coalesce(c.paused, false) AS paused, CASE WHEN c.paused THEN c.paused_at END AS "pausedAt",
       CASE WHEN c.reproq_held_until > now() THEN c.reproq_held_until END AS "heldUntil", CASE WHEN c.paused THEN c.reason END AS reason
  FROM queue q LEFT JOIN reproq_queue_controls c USING (queue_name)
 ORDER BY q.queue_name
