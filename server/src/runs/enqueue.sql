-- Insert runs in the order given: READY, scheduled, or born leased to the session that has a free place for them.
-- Of each run: $1 spec (one json array) $2 spec_hash[] $3 its kind (index into $7…)[] $4 run_after (ms since epoch, or null)[]
-- $5 its place (index into $12…, 0: none)[] $6 lease (uuid, or null)[]. Runs that come together are mostly alike, so what they
-- share is sent once: of each kind $7 task_path[] $8 queue[] $9 priority[] $10 max_attempts[] $11 timeout_seconds[]; of each
-- place $12 session[] $13 worker[]. $14: leased_until, ms from now.
-- Returns one row, for the driver's cost is per row: ids, ms until due (0: now), and whether born leased, joined by commas in
-- the order given.
WITH input AS MATERIALIZED (
  SELECT nextval((SELECT pg_get_serial_sequence('task_runs', 'result_id')::regclass)) AS result_id,
         to_timestamp(i.run_after_ms / 1000.0) AS run_after, ($8::text[])[i.kind] AS queue_name, ($9::int[])[i.kind] AS priority,
         -- A queue may have been paused or held since the broker last heard of it, and who is born leased would pay no rate limit.
         i.place > 0 AND NOT EXISTS (SELECT FROM rate_limits l WHERE l.tokens_per_second > 0 AND l.burst_size > 0 AND NOT starts_with(l.key, 'key:'))
           AND NOT EXISTS (SELECT FROM reproq_queue_controls c WHERE c.queue_name = ($8::text[])[i.kind] AND (c.paused OR c.reproq_held_until > now())) AS leased,
         i.*
    FROM ROWS FROM (jsonb_array_elements($1::jsonb), unnest($2::text[]), unnest($3::int[]), unnest($4::float8[]), unnest($5::int[]), unnest($6::uuid[]))
         WITH ORDINALITY AS i (spec, spec_hash, kind, run_after_ms, place, lease_id, ordinal)
), run AS (
  INSERT INTO task_runs (result_id, task_path, queue_name, priority, spec_json, spec_hash, run_after, max_attempts, timeout_seconds,
                         status, started_at, last_attempted_at, attempts, leased_until, leased_by, worker_ids, reproq_lease_id)
  SELECT result_id, ($7::text[])[kind], queue_name, priority, spec, spec_hash, run_after, ($10::int[])[kind], ($11::int[])[kind],
         CASE WHEN leased THEN 'RUNNING' ELSE 'READY' END, CASE WHEN leased THEN now() END, CASE WHEN leased THEN now() END,
         leased::int, CASE WHEN leased THEN now() + $14::float8 * interval '1 ms' END, CASE WHEN leased THEN ($13::text[])[place] END,
         CASE WHEN leased THEN jsonb_build_array(($13::text[])[place]) ELSE '[]' END, CASE WHEN leased THEN lease_id END
    FROM input
  RETURNING result_id, queue_name, priority, enqueued_at, run_after, status
), ready AS (
  INSERT INTO reproq_ready (queue_name, claim_key, result_id)
  SELECT queue_name, reproq_claim_key(priority, enqueued_at), result_id FROM run WHERE status = 'READY' AND (run_after IS NULL OR run_after <= now())
), scheduled AS (
  INSERT INTO reproq_scheduled (run_after, result_id) SELECT run_after, result_id FROM run WHERE run_after > now()
), held AS (
  INSERT INTO reproq_leases (result_id, session_id) SELECT result_id, ($12::bigint[])[place] FROM input WHERE leased
)
SELECT string_agg(result_id::text, ',' ORDER BY ordinal) AS ids,
       string_agg(coalesce(greatest(extract(epoch FROM run_after - now()) * 1000, 0), 0)::float8::text, ',' ORDER BY ordinal) AS delays,
       string_agg(leased::int::text, ',' ORDER BY ordinal) AS leased
  FROM input
