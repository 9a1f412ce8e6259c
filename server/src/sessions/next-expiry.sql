-- Milliseconds until there is a session to end, by the database's clock: 0 or less when one has expired or a lease is left of one
-- that no longer exists, null when there is none at all.
SELECT CASE WHEN EXISTS (SELECT FROM reproq_leases l WHERE NOT EXISTS (SELECT FROM reproq_sessions s WHERE s.session_id = l.session_id)) THEN 0
            ELSE extract(epoch FROM min(expires_at) - now())::float8 * 1000 END AS "nextMs"
  FROM reproq_sessions
