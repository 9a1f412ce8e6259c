-- Heartbeats: sessions $1 (bigint[]) on connections $2 (int[]) live $3 ms longer, by the database's clock. Returns those that exist;
-- one that does not come back was reaped, or superseded by a newer connection.
WITH renewed AS (
  UPDATE reproq_sessions s SET expires_at = clock_timestamp() + $3::float8 * interval '1 ms'
    FROM unnest($1::bigint[], $2::int[]) AS r (session_id, conn)
   WHERE s.session_id = r.session_id AND s.conn = r.conn
  RETURNING s.session_id, s.worker_id
), seen AS (
  -- Reproq's tools count a worker alive for two minutes; a write per heartbeat would be waste.
  UPDATE reproq_workers w SET last_seen_at = now() FROM renewed r
   WHERE w.worker_id = r.worker_id AND w.last_seen_at < now() - interval '30 s'
)
SELECT session_id::text AS "sessionId" FROM renewed
