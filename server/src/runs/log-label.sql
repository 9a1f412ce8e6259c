-- Says in logs_uri of runs $1 (bigint[]) where their output is: $2, the id, $3. Returns the runs that say so now. A row that somebody
-- holds is left out rather than waited for: it is about to get its result, which must not wait for a label.
WITH free AS (
  SELECT result_id FROM task_runs WHERE result_id = ANY ($1::bigint[]) ORDER BY result_id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE task_runs t SET logs_uri = $2::text || t.result_id || $3::text
  FROM free f WHERE t.result_id = f.result_id
RETURNING t.result_id::text AS run
