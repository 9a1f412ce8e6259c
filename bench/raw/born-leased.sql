-- 500 runs inserted as running in our schema, then completed.
WITH u AS (
  INSERT INTO task_runs (spec_json, spec_hash, task_path, status, started_at, last_attempted_at, attempts, leased_until, leased_by)
  SELECT '{"v": 1,"task_path":"bench.noop","args":[{"at": 1234567890,"fill":"0123456789012345"}],"kwargs":{},"takes_context": false,"queue_name":"default","priority": 0,"lock_key": null,"concurrency_key": null,"concurrency_limit": 0,"run_after": null,"exec":{"timeout_seconds": 900,"max_attempts": 3},"provenance":{"code_ref": null,"pip_lock_hash": null}}',
         md5(random()::text) || md5(random()::text), 'bench.noop', 'RUNNING', now(), now(), 1, now() + interval '30 s', 'w' FROM generate_series(1, 500)
  RETURNING result_id
)
SELECT coalesce(array_agg(result_id), '{}') AS ids FROM u \gset
UPDATE task_runs SET status = 'SUCCESSFUL', finished_at = now(), return_json = '1', leased_until = NULL, leased_by = NULL, updated_at = now()
 WHERE result_id = ANY (:ids::bigint[]) AND status = 'RUNNING' AND leased_by = 'w';
