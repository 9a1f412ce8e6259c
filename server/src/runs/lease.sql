-- READY → RUNNING: the best ready runs of queues $1 (text[]), one per free slot. Slot n goes to session $2[n], worker $3[n];
-- leased_until is $4 ms away. Returns one row per entry taken from the ready table, best first; an entry whose run is no
-- longer READY comes back with lease null and is gone.
WITH lane AS (
  SELECT queue_name FROM unnest($1::text[]) AS l (queue_name)
   WHERE NOT EXISTS (SELECT FROM reproq_queue_controls c WHERE c.queue_name = l.queue_name AND c.paused)
), candidate AS MATERIALIZED (
  SELECT head.* FROM lane CROSS JOIN LATERAL (
    SELECT r.queue_name, r.claim_key, r.result_id FROM reproq_ready r
     WHERE r.queue_name = lane.queue_name
     ORDER BY r.claim_key, r.result_id LIMIT cardinality($2::bigint[]) FOR UPDATE SKIP LOCKED
  ) head
), next AS MATERIALIZED (
  -- Materialized: inlined, the planner may run a LIMIT more than once and take more than there are slots.
  SELECT *, row_number() OVER (ORDER BY claim_key, result_id) AS slot
    FROM candidate ORDER BY claim_key, result_id LIMIT cardinality($2::bigint[])
), taken AS (
  DELETE FROM reproq_ready r USING next n
   WHERE r.queue_name = n.queue_name AND r.claim_key = n.claim_key AND r.result_id = n.result_id
  RETURNING r.result_id, n.slot
), leased AS (
  UPDATE task_runs t
     SET status = 'RUNNING', started_at = coalesce(t.started_at, now()), last_attempted_at = now(), attempts = t.attempts + 1,
         leased_until = now() + $4::float8 * interval '1 ms', leased_by = ($3::text[])[k.slot],
         worker_ids = t.worker_ids || to_jsonb(($3::text[])[k.slot]), reproq_lease_id = gen_random_uuid(), updated_at = now()
    FROM taken k
   WHERE t.result_id = k.result_id AND t.status = 'READY'
  RETURNING t.result_id, k.slot, t.reproq_lease_id, t.task_path, t.queue_name, t.attempts, t.max_attempts, t.timeout_seconds,
            t.spec_json, t.cancel_requested
), held AS (
  INSERT INTO reproq_leases (result_id, session_id) SELECT result_id, ($2::bigint[])[slot] FROM leased
  ON CONFLICT (result_id) DO UPDATE SET session_id = excluded.session_id
)
SELECT k.slot::int AS slot, k.result_id::text AS run, l.reproq_lease_id::text AS lease, l.task_path AS task, l.queue_name AS queue,
       l.attempts AS attempt, l.max_attempts AS "maxAttempts", l.timeout_seconds * 1000.0::float8 AS "timeoutMs",
       l.spec_json::text AS spec, l.cancel_requested AS "cancelRequested"
  FROM taken k LEFT JOIN leased l USING (result_id) ORDER BY k.slot
