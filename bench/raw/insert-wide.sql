-- 500 ready runs in one wide table.
INSERT INTO task_runs (spec_json, spec_hash, task_path)
SELECT jsonb_build_object('v', 1, 'args', jsonb_build_array(jsonb_build_object('at', 1, 'fill', repeat('0123456789', 17))), 'kwargs', '{}'::jsonb, 'task_path', 'bench.noop', 'queue_name', 'default'),
       md5(random()::text) || md5(random()::text), 'bench.noop' FROM generate_series(1, 500);
