-- What there is to do, and when: for each kind of work milliseconds from now (0 or less: now), or null when nothing is known of. One
-- question for all, so that a broker with nothing to do asks as little as it can.
SELECT extract(epoch FROM least((SELECT s.run_after FROM reproq_scheduled s ORDER BY s.run_after, s.result_id LIMIT 1),
                                (SELECT min(c.reproq_held_until) FROM reproq_queue_controls c)) - now())::float8 * 1000 AS scheduled,
       (SELECT extract(epoch FROM e.expires_at - now())::float8 * 1000 FROM reproq_expiring e ORDER BY e.expires_at, e.result_id LIMIT 1) AS expiring,
       CASE WHEN EXISTS (SELECT FROM reproq_freed) THEN 0 ELSE reproq_next_refill_ms() END AS blocked,
       CASE WHEN EXISTS (SELECT FROM reproq_workflow_changes) THEN 0::float8 END AS workflows,
       reproq_next_session_end_ms() AS sessions,
       CASE WHEN EXISTS (SELECT FROM reproq_operations WHERE status = 'RUNNING') THEN 0::float8 END AS operations
