-- Take the scheduler's leadership for broker $1 for $2 ms, or keep it, by the database's clock: while brokers are the scheduler here, and nobody else
-- has it. Returns the mode, whether it leads now, whether something is due for it, and how long another's leadership lasts (ms).
WITH led AS (
  UPDATE reproq_scheduler
     SET leader_since = CASE WHEN leader_id = $1 THEN leader_since ELSE now() END, leader_id = $1, leader_until = now() + $2::float8 * interval '1 ms'
   WHERE mode = 'broker' AND (leader_id IS NULL OR leader_id = $1 OR leader_until < now())
  RETURNING true AS leads
)
SELECT s.mode, EXISTS (SELECT FROM led) AS leads,
       EXISTS (SELECT FROM led) AND EXISTS (SELECT FROM periodic_tasks p WHERE p.enabled AND p.reproq_error IS NULL AND (p.next_run_at <= now() OR p.reproq_replan)) AS due,
       greatest(extract(epoch FROM s.leader_until - now()) * 1000, 0)::float8 AS "lastsMs"
  FROM reproq_scheduler s
