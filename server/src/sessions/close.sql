-- Session $1 said goodbye on connection $2, and its leases were given back.
WITH closed AS (
  DELETE FROM reproq_sessions WHERE session_id = $1 AND conn = $2 RETURNING worker_id
)
DELETE FROM reproq_workers w USING closed c WHERE w.worker_id = c.worker_id
