-- The newest run whose spec_hash is $1. Walks the ids downwards: an index on hashes would cost every enqueue.
SELECT result_id::text AS id FROM task_runs WHERE spec_hash = $1 ORDER BY result_id DESC LIMIT 1
