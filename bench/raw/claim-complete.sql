-- 500 ready runs claimed in our schema, then completed.
WITH c AS MATERIALIZED (
  SELECT ctid FROM reproq_ready WHERE queue_name = 'default' ORDER BY claim_key, result_id LIMIT 500 FOR UPDATE SKIP LOCKED
), d AS (
  DELETE FROM reproq_ready WHERE ctid = ANY (ARRAY (SELECT ctid FROM c)) RETURNING result_id
), u AS (
  UPDATE task_runs t SET status = 'RUNNING', started_at = now(), last_attempted_at = now(), attempts = attempts + 1,
         leased_until = now() + interval '30 s', leased_by = 'w', updated_at = now()
    FROM d WHERE t.result_id = d.result_id AND t.status = 'READY' RETURNING t.result_id, t.spec_json
)
SELECT coalesce(array_agg(result_id), '{}') AS ids FROM u \gset
UPDATE task_runs SET status = 'SUCCESSFUL', finished_at = now(), return_json = '1', leased_until = NULL, leased_by = NULL, updated_at = now()
 WHERE result_id = ANY (:ids::bigint[]) AND status = 'RUNNING' AND leased_by = 'w';
