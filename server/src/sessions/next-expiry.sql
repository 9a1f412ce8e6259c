-- Milliseconds until there is a session to end, as look.sql says it.
SELECT reproq_next_session_end_ms() AS "nextMs"
