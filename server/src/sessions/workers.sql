-- Workers as Reproq's tools list them, at most $1, with what their sessions here hold. As maps: there is no index to join by.
WITH lease AS MATERIALIZED (
  SELECT coalesce(jsonb_object_agg(session_id, runs), '{}') AS runs FROM (SELECT session_id, count(*) AS runs FROM reproq_leases GROUP BY 1) l
), held AS MATERIALIZED (
  SELECT s.worker_id, max(s.expires_at) AS expires_at, sum(coalesce((lease.runs->>s.session_id::text)::int, 0)) AS running
    FROM reproq_sessions s CROSS JOIN lease WHERE s.expires_at > now() GROUP BY 1
), map AS MATERIALIZED (
  SELECT coalesce(jsonb_object_agg(worker_id, jsonb_build_object('expires_at', expires_at, 'running', running)), '{}') AS sessions FROM held
)
SELECT w.worker_id AS name, w.hostname, w.queues::text AS queues, w.concurrency, w.version, w.started_at AS "startedAt", w.last_seen_at AS "lastSeenAt",
       coalesce((m.sessions->w.worker_id->>'running')::int, 0) AS running, (m.sessions->w.worker_id->>'expires_at')::timestamptz AS "expiresAt"
  FROM reproq_workers w CROSS JOIN map m ORDER BY w.worker_id LIMIT $1
