-- 500 ready runs claimed in one wide table, then completed.
WITH c AS MATERIALIZED (
  SELECT result_id FROM task_runs WHERE status = 'READY' AND queue_name = 'default' AND (run_after IS NULL OR run_after <= now())
   ORDER BY priority DESC, result_id LIMIT 500 FOR UPDATE SKIP LOCKED
), u AS (
  UPDATE task_runs t SET status = 'RUNNING', started_at = now(), last_attempted_at = now(), attempts = attempts + 1,
         leased_until = now() + interval '30 s', leased_by = 'w', updated_at = now()
    FROM c WHERE t.result_id = c.result_id RETURNING t.result_id, t.spec_json
)
SELECT coalesce(array_agg(result_id), '{}') AS ids FROM u \gset
UPDATE task_runs SET status = 'SUCCESSFUL', finished_at = now(), return_json = '1', leased_until = NULL, leased_by = NULL, updated_at = now()
 WHERE result_id = ANY (:ids::bigint[]) AND status = 'RUNNING' AND leased_by = 'w';
