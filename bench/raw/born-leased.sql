-- 500 runs inserted as running in our schema, then completed.
WITH u AS (
  INSERT INTO task_runs (spec_json, spec_hash, task_path, status, started_at, last_attempted_at, attempts, leased_until, leased_by)
  SELECT jsonb_build_object('v', 1, 'args', jsonb_build_array(jsonb_build_object('at', 1, 'fill', repeat('0123456789', 17))), 'kwargs', '{}'::jsonb, 'task_path', 'bench.noop', 'queue_name', 'default'),
         md5(random()::text) || md5(random()::text), 'bench.noop', 'RUNNING', now(), now(), 1, now() + interval '30 s', 'w' FROM generate_series(1, 500)
  RETURNING result_id
)
SELECT coalesce(array_agg(result_id), '{}') AS ids FROM u \gset
UPDATE task_runs SET status = 'SUCCESSFUL', finished_at = now(), return_json = '1', leased_until = NULL, leased_by = NULL, updated_at = now()
 WHERE result_id = ANY (:ids::bigint[]) AND status = 'RUNNING' AND leased_by = 'w';
