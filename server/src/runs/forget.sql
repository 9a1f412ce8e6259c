-- Workers not heard of for $1 hours that have no session here, and operations that ended so many hours ago ($2), are forgotten.
WITH worker AS (
  DELETE FROM reproq_workers w
   WHERE w.last_seen_at < now() - $1::float8 * interval '1 h' AND NOT EXISTS (SELECT FROM reproq_sessions s WHERE s.worker_id = w.worker_id)
  RETURNING 1
), operation AS (
  DELETE FROM reproq_operations WHERE finished_at < now() - $2::float8 * interval '1 h'
)
SELECT count(*)::int AS workers FROM worker
