-- Insert runs in the order given: READY, scheduled, or born leased to the session that has a free place for them. Returns one
-- row per input, in that order.
-- $1 task_path[] $2 queue[] $3 priority[] $4 spec (json text)[] $5 spec_hash[] $6 run_after (ms since epoch, or null)[]
-- $7 max_attempts[] $8 timeout_seconds[] $9 session (null: none)[] $10 worker[] $11 lease[] $12 leased_until, ms from now
WITH input AS MATERIALIZED (
  SELECT nextval((SELECT pg_get_serial_sequence('task_runs', 'result_id')::regclass)) AS result_id,
         to_timestamp(i.run_after_ms / 1000.0) AS run_after,
         -- A queue may have been paused since the broker last heard of it.
         i.session_id IS NOT NULL AND NOT EXISTS (SELECT FROM reproq_queue_controls c WHERE c.queue_name = i.queue_name AND c.paused) AS leased,
         i.*
    FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::float8[], $7::int[], $8::int[], $9::bigint[], $10::text[], $11::uuid[])
         WITH ORDINALITY AS i (task_path, queue_name, priority, spec, spec_hash, run_after_ms, max_attempts, timeout_seconds, session_id, worker_id, lease_id, ordinal)
), run AS (
  INSERT INTO task_runs (result_id, task_path, queue_name, priority, spec_json, spec_hash, run_after, max_attempts, timeout_seconds,
                         status, started_at, last_attempted_at, attempts, leased_until, leased_by, worker_ids, reproq_lease_id)
  SELECT result_id, task_path, queue_name, priority, spec::jsonb, spec_hash, run_after, max_attempts, timeout_seconds,
         CASE WHEN leased THEN 'RUNNING' ELSE 'READY' END, CASE WHEN leased THEN now() END, CASE WHEN leased THEN now() END,
         leased::int, CASE WHEN leased THEN now() + $12::float8 * interval '1 ms' END, CASE WHEN leased THEN worker_id END,
         CASE WHEN leased THEN jsonb_build_array(worker_id) ELSE '[]' END, CASE WHEN leased THEN lease_id END
    FROM input ORDER BY ordinal
  RETURNING result_id, queue_name, priority, enqueued_at, run_after, status
), ready AS (
  INSERT INTO reproq_ready (queue_name, claim_key, result_id)
  SELECT queue_name, reproq_claim_key(priority, enqueued_at), result_id FROM run WHERE status = 'READY' AND (run_after IS NULL OR run_after <= now())
), scheduled AS (
  INSERT INTO reproq_scheduled (run_after, result_id) SELECT run_after, result_id FROM run WHERE run_after > now()
), held AS (
  INSERT INTO reproq_leases (result_id, session_id) SELECT result_id, session_id FROM input WHERE leased
)
SELECT result_id::text AS id, false AS deduplicated, coalesce(extract(epoch FROM run_after - now()) * 1000, 0)::float8 AS "delayMs", leased
  FROM input ORDER BY ordinal
