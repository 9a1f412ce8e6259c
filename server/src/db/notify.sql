-- Say $2 on channel $1.
SELECT pg_notify($1, $2)
