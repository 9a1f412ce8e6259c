-- reproq_enqueue(): enqueue from SQL, inside the caller's own transaction.

-- Null, or an argument left out, means the default. With an idempotency key, the first enqueue of that key and task makes
-- a run and later ones are answered with it (deduplicated = true), for as long as the run is kept.
-- Of runs with one lock_key, one runs at a time; of runs with one concurrency_key, concurrency_limit; of runs with one rate_key,
-- rate_limit start in any rate_per, and rate_burst (rate_limit if null) at once. Runs of one queue with different fair_keys take
-- turns. A run that has not started by expires_at never starts. retry: {"base_ms", "factor", "cap_ms", "jitter", "delays_ms",
-- "non_retryable"}, all optional. With deduplicate, an equal run that waits or runs is the answer (deduplicated = true); runs
-- are equal that have one canonical_spec, which clients make, or, without it, one spec as Postgres prints it. What this writes to
-- comes with 0004.
-- Example: SELECT result_id FROM reproq_enqueue('mypkg.tasks.add', args => '[2, 3]');
CREATE FUNCTION reproq_enqueue(
  task_path text,
  args jsonb DEFAULT '[]',
  kwargs jsonb DEFAULT '{}',
  queue_name text DEFAULT 'default',
  priority integer DEFAULT 0,
  run_after timestamptz DEFAULT NULL,
  max_attempts integer DEFAULT 3,
  timeout_seconds integer DEFAULT 900,
  idempotency_key text DEFAULT NULL,
  lock_key text DEFAULT NULL,
  concurrency_key text DEFAULT NULL,
  concurrency_limit integer DEFAULT NULL,
  rate_key text DEFAULT NULL,
  rate_limit integer DEFAULT NULL,
  rate_per interval DEFAULT NULL,
  rate_burst integer DEFAULT NULL,
  fair_key text DEFAULT NULL,
  expires_at timestamptz DEFAULT NULL,
  retry jsonb DEFAULT NULL,
  deduplicate boolean DEFAULT false,
  canonical_spec text DEFAULT NULL,
  OUT result_id bigint,
  OUT deduplicated boolean
) LANGUAGE plpgsql SET reproq.twins TO 'off' AS $$
#variable_conflict use_variable
DECLARE
  spec jsonb;
  spec_digest text;
  key_digest bytea;
  holder bigint;
  rate_per_second real;
BEGIN
  args := coalesce(args, '[]');
  kwargs := coalesce(kwargs, '{}');
  queue_name := coalesce(queue_name, 'default');
  priority := coalesce(priority, 0);
  max_attempts := coalesce(max_attempts, 3);
  timeout_seconds := coalesce(timeout_seconds, 900);
  IF coalesce(task_path, '') = '' THEN
    RAISE EXCEPTION 'reproq_enqueue: task_path is empty' USING ERRCODE = '22023', HINT = 'Give the name of the task, such as ''mypkg.tasks.add''.';
  END IF;
  IF jsonb_typeof(args) <> 'array' OR jsonb_typeof(kwargs) <> 'object' THEN
    RAISE EXCEPTION 'reproq_enqueue: args is a JSON array and kwargs a JSON object; got % and %', jsonb_typeof(args), jsonb_typeof(kwargs) USING ERRCODE = '22023';
  END IF;
  IF max_attempts < 1 OR timeout_seconds < 1 OR queue_name = '' THEN
    RAISE EXCEPTION 'reproq_enqueue: max_attempts and timeout_seconds are at least 1 and queue_name is not empty; got %, % and "%"', max_attempts, timeout_seconds, queue_name USING ERRCODE = '22023';
  END IF;
  IF '' IN (lock_key, concurrency_key, rate_key, fair_key) THEN
    RAISE EXCEPTION 'reproq_enqueue: a key is empty; lock_key, concurrency_key, rate_key and fair_key are null or text' USING ERRCODE = '22023';
  END IF;
  IF (concurrency_key IS NULL) <> (concurrency_limit IS NULL) OR concurrency_limit < 1 THEN
    RAISE EXCEPTION 'reproq_enqueue: concurrency_key and concurrency_limit (at least 1) go together; got % and %', concurrency_key, concurrency_limit USING ERRCODE = '22023';
  END IF;
  IF rate_key IS NOT NULL AND (coalesce(rate_limit, 0) < 1 OR coalesce(extract(epoch FROM rate_per), 0) <= 0 OR rate_burst < 1) THEN
    RAISE EXCEPTION 'reproq_enqueue: rate_key needs a rate_limit of at least 1 and a rate_per above 0; got % in %, burst %', rate_limit, rate_per, rate_burst USING ERRCODE = '22023',
      HINT = 'For 100 starts a minute: rate_limit => 100, rate_per => ''1 minute''.';
  END IF;
  IF deduplicate AND idempotency_key IS NOT NULL THEN
    RAISE EXCEPTION 'reproq_enqueue: deduplicate and idempotency_key exclude each other: the key means one run for ever, deduplicate one at a time' USING ERRCODE = '22023';
  END IF;

  deduplicated := false;
  IF idempotency_key IS NOT NULL THEN
    key_digest := sha256(convert_to(task_path || chr(31) || idempotency_key, 'UTF8'));
    SELECT i.result_id INTO result_id FROM reproq_idempotency i WHERE i.key_hash = key_digest;
    IF FOUND THEN
      deduplicated := true;
      RETURN;
    END IF;
  END IF;
  result_id := nextval(pg_get_serial_sequence('task_runs', 'result_id'));

  spec := jsonb_build_object(
    'v', 1, 'task_path', task_path, 'args', args, 'kwargs', kwargs, 'takes_context', false,
    'queue_name', queue_name, 'priority', priority, 'lock_key', lock_key, 'concurrency_key', concurrency_key, 'concurrency_limit', coalesce(concurrency_limit, 0),
    'run_after', to_char(run_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
    'exec', jsonb_build_object('timeout_seconds', timeout_seconds, 'max_attempts', max_attempts),
    'provenance', jsonb_build_object('code_ref', NULL, 'pip_lock_hash', NULL));
  IF deduplicate THEN
    spec_digest := encode(sha256(convert_to(coalesce(canonical_spec, spec::text), 'UTF8')), 'hex');
    SELECT w.result_id INTO holder FROM reproq_twins w JOIN task_runs t USING (result_id)
     WHERE w.spec_hash = spec_digest AND reproq_may_start(t.status, t.expires_at) LIMIT 1;
    IF NOT FOUND AND to_regclass('idx_task_runs_spec_unique') IS NOT NULL THEN
      -- The Go schema allows one active run per hash, whoever made it and whatever it asked for.
      SELECT t.result_id INTO holder FROM task_runs t WHERE t.spec_hash = spec_digest AND t.status IN ('READY', 'RUNNING');
    END IF;
    IF holder IS NULL THEN
      -- As enqueue-controlled.sql does: who has the hash keeps it while it may still be run.
      INSERT INTO reproq_unique AS u (spec_hash, result_id) VALUES (spec_digest, result_id)
      ON CONFLICT (spec_hash) DO UPDATE
         SET result_id = CASE WHEN EXISTS (SELECT FROM task_runs t WHERE t.result_id = u.result_id AND NOT reproq_may_start(t.status, t.expires_at))
                              THEN excluded.result_id ELSE u.result_id END
      RETURNING u.result_id INTO holder;
    END IF;
    IF holder <> result_id THEN
      result_id := holder;
      deduplicated := true;
      RETURN;
    END IF;
  ELSE
    -- Not Reproq's canonical hash, which cannot be told from jsonb (1e16 and 10000000000000000 are one value here), so salted
    -- with the id: a run from SQL is nobody's twin. In a database that the Go schema made, which allows one active run per hash,
    -- this is also what lets equal runs be.
    spec_digest := encode(sha256(convert_to(result_id || spec::text, 'UTF8')), 'hex');
  END IF;

  INSERT INTO task_runs AS t (result_id, queue_name, priority, run_after, spec_json, spec_hash, task_path, max_attempts, timeout_seconds,
                              lock_key, concurrency_key, concurrency_limit, expires_at, reproq_rate_key, reproq_fair_key, reproq_retry)
  VALUES (result_id, queue_name, priority, run_after, spec, spec_digest, task_path, max_attempts, timeout_seconds,
          lock_key, concurrency_key, coalesce(concurrency_limit, 0), expires_at, rate_key, fair_key, retry);

  IF rate_key IS NOT NULL THEN
    rate_per_second := rate_limit / extract(epoch FROM rate_per);
    rate_burst := coalesce(rate_burst, rate_limit);
    -- Written only where it is new or has other numbers: a lock on it would hold up every lease of this key until the caller commits.
    IF NOT EXISTS (SELECT FROM rate_limits b WHERE b.key = 'key:' || rate_key AND b.tokens_per_second = rate_per_second AND b.burst_size = rate_burst) THEN
      INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens) VALUES ('key:' || rate_key, rate_per_second, rate_burst, rate_burst)
      ON CONFLICT (key) DO UPDATE SET tokens_per_second = excluded.tokens_per_second, burst_size = excluded.burst_size;
    END IF;
  END IF;

  IF key_digest IS NOT NULL THEN
    INSERT INTO reproq_idempotency AS i (key_hash, result_id) VALUES (key_digest, result_id) ON CONFLICT (key_hash) DO NOTHING;
    IF NOT FOUND THEN
      -- Another transaction was first and has committed while we waited: its run is the one.
      DELETE FROM task_runs t WHERE t.result_id = reproq_enqueue.result_id;
      SELECT i.result_id INTO result_id FROM reproq_idempotency i WHERE i.key_hash = key_digest;
      deduplicated := true;
    END IF;
  END IF;
END $$;
