-- 500 ready runs in our schema.
WITH run AS (
  INSERT INTO task_runs (spec_json, spec_hash, task_path)
  SELECT '{"v": 1,"task_path":"bench.noop","args":[{"at": 1234567890,"fill":"0123456789012345"}],"kwargs":{},"takes_context": false,"queue_name":"default","priority": 0,"lock_key": null,"concurrency_key": null,"concurrency_limit": 0,"run_after": null,"exec":{"timeout_seconds": 900,"max_attempts": 3},"provenance":{"code_ref": null,"pip_lock_hash": null}}',
         md5(random()::text) || md5(random()::text), 'bench.noop' FROM generate_series(1, 500)
  RETURNING result_id, queue_name, priority, enqueued_at
)
INSERT INTO reproq_ready SELECT queue_name, reproq_claim_key(priority, enqueued_at), result_id FROM run;
