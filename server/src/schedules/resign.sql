-- End the leadership of broker $1, if it has it, and tell the others, so that they need not wait for it to run out.
WITH resigned AS (
  UPDATE reproq_scheduler SET leader_id = NULL, leader_since = NULL, leader_until = NULL WHERE leader_id = $1 RETURNING true
)
SELECT pg_notify('reproq_schedules', '') FROM resigned
