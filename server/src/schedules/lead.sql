-- Take the scheduler's leadership for broker $1 for $2 ms, or keep it, by the database's clock: while brokers are the scheduler here, and nobody else
-- has it. Returns the mode, and whether it leads now.
WITH led AS (
  UPDATE reproq_scheduler
     SET leader_since = CASE WHEN leader_id = $1 THEN leader_since ELSE now() END, leader_id = $1, leader_until = now() + $2::float8 * interval '1 ms'
   WHERE mode = 'broker' AND (leader_id IS NULL OR leader_id = $1 OR leader_until < now())
  RETURNING true AS leads
)
SELECT s.mode, EXISTS (SELECT FROM led) AS leads FROM reproq_scheduler s
