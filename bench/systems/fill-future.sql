-- $1 runs that are due in a day and would then go first. reproq.internal is on.
WITH run AS (
  INSERT INTO task_runs (spec_json, spec_hash, task_path, priority, run_after)
  SELECT '{"v":1,"task_path":"bench.noop","args":[{"at":1234567890,"fill":"0123456789012345"}],"kwargs":{},"takes_context":false,"queue_name":"default","priority":0,"lock_key":null,"concurrency_key":null,"concurrency_limit":0,"run_after":null,"exec":{"timeout_seconds":900,"max_attempts":3},"provenance":{"code_ref":null,"pip_lock_hash":null}}',
         md5(random()::text) || md5(random()::text), 'bench.noop', 10, now() + interval '1 day' FROM generate_series(1, $1)
  RETURNING result_id, run_after
)
INSERT INTO reproq_scheduled SELECT run_after, result_id FROM run
