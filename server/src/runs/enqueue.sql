-- Insert runs, READY or scheduled, in the order given. Returns one row per input, in that order.
-- $1 task_path[] $2 queue[] $3 priority[] $4 spec (json text)[] $5 spec_hash[] $6 run_after (ms since epoch, or null)[]
-- $7 max_attempts[] $8 timeout_seconds[]
WITH input AS MATERIALIZED (
  SELECT nextval((SELECT pg_get_serial_sequence('task_runs', 'result_id')::regclass)) AS result_id, to_timestamp(i.run_after_ms / 1000.0) AS run_after, i.*
    FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::float8[], $7::int[], $8::int[])
         WITH ORDINALITY AS i (task_path, queue_name, priority, spec, spec_hash, run_after_ms, max_attempts, timeout_seconds, ordinal)
), run AS (
  INSERT INTO task_runs (result_id, task_path, queue_name, priority, spec_json, spec_hash, run_after, max_attempts, timeout_seconds)
  SELECT result_id, task_path, queue_name, priority, spec::jsonb, spec_hash, run_after, max_attempts, timeout_seconds FROM input ORDER BY ordinal
  RETURNING result_id, queue_name, priority, enqueued_at, run_after
), ready AS (
  INSERT INTO reproq_ready (queue_name, claim_key, result_id)
  SELECT queue_name, reproq_claim_key(priority, enqueued_at), result_id FROM run WHERE run_after IS NULL OR run_after <= now()
), scheduled AS (
  INSERT INTO reproq_scheduled (run_after, result_id) SELECT run_after, result_id FROM run WHERE run_after > now()
)
SELECT result_id::text AS id, false AS deduplicated, coalesce(extract(epoch FROM run_after - now()) * 1000, 0)::float8 AS "delayMs"
  FROM input ORDER BY ordinal
