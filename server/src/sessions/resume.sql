-- Attach again to session $1 of worker $5 if key digest $2 is its key: the connection number goes up, so that whoever holds the old one
-- is superseded. $3 broker, $4 ms until expiry. No row: no such session, or not yours.
UPDATE reproq_sessions SET conn = conn + 1, broker_id = $3, expires_at = now() + $4::float8 * interval '1 ms'
 WHERE session_id = $1 AND key_hash = $2 AND worker_id = $5
RETURNING session_id::text AS "sessionId", conn
