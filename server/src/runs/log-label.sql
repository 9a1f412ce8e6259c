-- Says in logs_uri of runs $1 (bigint[]) where their output is: $2 (text[]), one each. Not when links are no longer signed with the secret
-- of which $3 is the SHA-256 (null: these are not signed), for they would be refused for ever: stale. Returns the runs that say so now. A row
-- that somebody holds is left out rather than waited for: it is about to get its result, which must not wait for a label.
WITH signing AS MATERIALIZED (
  SELECT $3::bytea IS NOT NULL AND NOT EXISTS (SELECT FROM reproq_log_links WHERE sha256(secret) = $3) AS is_stale
), free AS (
  SELECT result_id FROM task_runs WHERE result_id = ANY ($1::bigint[]) ORDER BY result_id FOR NO KEY UPDATE SKIP LOCKED
), labelled AS (
  UPDATE task_runs t SET logs_uri = l.uri
    FROM free f JOIN unnest($1::bigint[], $2::text[]) AS l (result_id, uri) USING (result_id)
   WHERE t.result_id = ANY ($1::bigint[]) AND t.result_id = f.result_id AND NOT (SELECT is_stale FROM signing)
  RETURNING t.result_id
)
SELECT ARRAY(SELECT result_id::text FROM labelled) AS labelled, is_stale AS "isStale" FROM signing
