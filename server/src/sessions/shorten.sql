-- The socket of session $1 dropped (connection $2): it has $3 ms to come back, or less if it had less.
UPDATE reproq_sessions SET expires_at = least(expires_at, clock_timestamp() + $3::float8 * interval '1 ms')
 WHERE session_id = $1 AND conn = $2
