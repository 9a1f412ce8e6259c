-- As enqueue.sql, for runs that ask for more than to be run: $9 digest of the idempotency key[] (null: none), $10 control (json)[]
-- (null: none). A key that has a run, or a run to be deduplicated that has an equal one waiting or running, answers with that
-- run and deduplicated = true. Each key and each hash to be deduplicated comes at most once per call.
WITH input AS MATERIALIZED (
  SELECT nextval((SELECT pg_get_serial_sequence('task_runs', 'result_id')::regclass)) AS result_id, to_timestamp(i.run_after_ms / 1000.0) AS run_after,
         coalesce(to_timestamp(c."expiresAtMs" / 1000.0), now() + c."expiresInMs" * interval '1 ms') AS expires_at, i.*, c.*
    FROM unnest($1::text[], $2::text[], $3::int[], $4::text[], $5::text[], $6::float8[], $7::int[], $8::int[], $9::bytea[], $10::jsonb[])
         WITH ORDINALITY AS i (task_path, queue_name, priority, spec, spec_hash, run_after_ms, max_attempts, timeout_seconds, key_hash, control, ordinal)
   CROSS JOIN jsonb_to_record(i.control) AS c (deduplicate boolean, "lockKey" text, "concurrencyKey" text, "concurrencyLimit" integer, "rateKey" text, "ratePerSecond" real,
                                               "rateBurst" integer, "fairKey" text, "expiresAtMs" float8, "expiresInMs" float8, retry jsonb)
), key AS (
  -- DO UPDATE rather than DO NOTHING: it waits for a concurrent twin, and returns that twin's run. Keys are taken in
  -- one order everywhere, so two batches cannot wait for each other.
  INSERT INTO reproq_idempotency AS k (key_hash, result_id) SELECT key_hash, result_id FROM input WHERE key_hash IS NOT NULL ORDER BY key_hash
  ON CONFLICT (key_hash) DO UPDATE SET key_hash = k.key_hash
  RETURNING key_hash, result_id
), twins AS MATERIALIZED (
  -- Of those who enqueue without asking us; and in a database of the Go schema, which allows one active run per hash, anybody's.
  SELECT coalesce(jsonb_object_agg(ordinal, result_id), '{}') AS by_ordinal FROM (
    SELECT i.ordinal, t.result_id FROM input i JOIN reproq_twins w USING (spec_hash) JOIN task_runs t ON t.result_id = w.result_id
     WHERE i.deduplicate AND reproq_may_start(t.status, t.expires_at)
    UNION ALL
    SELECT i.ordinal, t.result_id FROM input i CROSS JOIN reproq_active_twin(i.spec_hash) AS t (result_id) WHERE i.deduplicate AND t.result_id IS NOT NULL
  ) active
), claim AS (
  -- As with keys. Who has the hash keeps it while it may still be run; a run that this statement cannot see yet has just been made.
  INSERT INTO reproq_unique AS u (spec_hash, result_id)
  SELECT spec_hash, result_id FROM input i CROSS JOIN twins w WHERE deduplicate AND NOT w.by_ordinal ? i.ordinal::text ORDER BY spec_hash
  ON CONFLICT (spec_hash) DO UPDATE
     SET result_id = CASE WHEN reproq_is_over(u.result_id)
                          THEN excluded.result_id ELSE u.result_id END
  RETURNING spec_hash, result_id
), answers AS MATERIALIZED (
  -- As objects, because a broker's session has no hash joins: joining the lists would compare each with each.
  SELECT (SELECT jsonb_object_agg(encode(key_hash, 'hex'), result_id) FROM key) AS by_key, (SELECT jsonb_object_agg(spec_hash, result_id) FROM claim) AS by_hash
), placed AS MATERIALIZED (
  SELECT i.*, coalesce(a.by_key->>encode(i.key_hash, 'hex'), w.by_ordinal->>i.ordinal::text, CASE WHEN i.deduplicate THEN a.by_hash->>i.spec_hash END, i.result_id::text)::bigint AS answer
    FROM input i CROSS JOIN answers a CROSS JOIN twins w
), bucket AS (
  -- Only where it is new or has other numbers, and nobody has set it by hand: every lease of a run with this key writes the row too.
  INSERT INTO rate_limits AS b (key, tokens_per_second, burst_size, current_tokens, reproq_by_hand)
  SELECT DISTINCT ON (i."rateKey") 'key:' || i."rateKey", i."ratePerSecond", i."rateBurst", i."rateBurst", false FROM placed i
   WHERE i."rateKey" IS NOT NULL AND i.answer = i.result_id
     AND NOT EXISTS (SELECT FROM rate_limits b WHERE b.key = 'key:' || i."rateKey" AND (b.reproq_by_hand OR b.tokens_per_second = i."ratePerSecond" AND b.burst_size = i."rateBurst"))
   ORDER BY i."rateKey", i.ordinal DESC
  ON CONFLICT (key) DO UPDATE SET tokens_per_second = excluded.tokens_per_second, burst_size = excluded.burst_size WHERE NOT b.reproq_by_hand
), run AS (
  INSERT INTO task_runs (result_id, task_path, queue_name, priority, spec_json, spec_hash, run_after, max_attempts, timeout_seconds, lock_key, concurrency_key,
                         concurrency_limit, expires_at, reproq_rate_key, reproq_rate_per_second, reproq_rate_burst, reproq_fair_key, reproq_retry)
  SELECT result_id, task_path, queue_name, priority, spec::jsonb, spec_hash, run_after, max_attempts, timeout_seconds, "lockKey", "concurrencyKey",
         coalesce("concurrencyLimit", 0), expires_at, "rateKey", "ratePerSecond", "rateBurst", "fairKey", nullif(retry, 'null')
    FROM placed i WHERE i.answer = i.result_id ORDER BY ordinal
  RETURNING result_id, queue_name, priority, enqueued_at, run_after, reproq_fair_at, lock_key, concurrency_key, concurrency_limit, reproq_rate_key, expires_at
), ready AS (
  INSERT INTO reproq_ready (queue_name, claim_key, result_id, gated)
  SELECT queue_name, reproq_claim_key(priority, enqueued_at, reproq_fair_at), result_id,
         reproq_is_gated(lock_key, concurrency_key, concurrency_limit, reproq_rate_key, expires_at)
    FROM run WHERE run_after IS NULL OR run_after <= now()
), scheduled AS (
  INSERT INTO reproq_scheduled (run_after, result_id) SELECT run_after, result_id FROM run WHERE run_after > now()
)
SELECT answer::text AS id, answer <> result_id AS deduplicated, coalesce(extract(epoch FROM run_after - now()) * 1000, 0)::float8 AS "delayMs", false AS leased
  FROM placed ORDER BY ordinal
