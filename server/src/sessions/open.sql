-- A new session for worker $1 with key digest $2 on broker $3, expiring in $4 ms; and its row for Reproq's tools:
-- $5 hostname $6 concurrency $7 queues (json text) $8 version. Returns the session's id.
WITH worker AS (
  INSERT INTO reproq_workers (worker_id, hostname, concurrency, queues, version, started_at, last_seen_at)
  VALUES ($1, $5, $6, $7::jsonb, $8, now(), now())
  ON CONFLICT (worker_id) DO UPDATE SET hostname = excluded.hostname, concurrency = excluded.concurrency, queues = excluded.queues,
                                        version = excluded.version, last_seen_at = now()
)
INSERT INTO reproq_sessions (worker_id, key_hash, broker_id, expires_at)
VALUES ($1, $2, $3, now() + $4::float8 * interval '1 ms')
RETURNING session_id::text AS "sessionId", conn
