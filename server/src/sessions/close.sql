-- Session $1 said goodbye on connection $2, and its leases were given back. Its worker's row for Reproq's tools goes too,
-- unless the worker is back under another session.
WITH closed AS (
  DELETE FROM reproq_sessions WHERE session_id = $1 AND conn = $2 RETURNING session_id, worker_id
)
DELETE FROM reproq_workers w USING closed c
 WHERE w.worker_id = c.worker_id
   AND NOT EXISTS (SELECT FROM reproq_sessions s WHERE s.worker_id = c.worker_id AND s.session_id <> c.session_id)
