-- reproq_enqueue(): enqueue from SQL, inside the caller's own transaction.

-- Null, or an argument left out, means the default. With an idempotency key, the first enqueue of that key and task makes
-- a run and later ones are answered with it (deduplicated = true), for as long as the run is kept.
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
  OUT result_id bigint,
  OUT deduplicated boolean
) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
  spec jsonb;
  spec_digest text;
  key_digest bytea;
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
    'queue_name', queue_name, 'priority', priority, 'lock_key', NULL, 'concurrency_key', NULL, 'concurrency_limit', 0,
    'run_after', to_char(run_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
    'exec', jsonb_build_object('timeout_seconds', timeout_seconds, 'max_attempts', max_attempts),
    'provenance', jsonb_build_object('code_ref', NULL, 'pip_lock_hash', NULL));
  -- Not Reproq's canonical hash, which cannot be told from jsonb (1e16 and 10000000000000000 are one value here), so salted
  -- with the id: a run from SQL is nobody's twin.
  spec_digest := encode(sha256(convert_to(result_id || spec::text, 'UTF8')), 'hex');

  INSERT INTO task_runs AS t (result_id, queue_name, priority, run_after, spec_json, spec_hash, task_path, max_attempts, timeout_seconds)
  VALUES (result_id, queue_name, priority, run_after, spec, spec_digest, task_path, max_attempts, timeout_seconds);

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
