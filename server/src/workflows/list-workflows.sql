-- Newest first: at most $3 workflows before number $2 (null: from the top), with status $1 (null: any).
SELECT number::text, workflow_id::text AS id, name, status, created_at AS "createdAt", total, succeeded, failed, cancelled, skipped
  FROM reproq_workflows
 WHERE ($1::text IS NULL OR status = $1) AND ($2::bigint IS NULL OR number < $2)
 ORDER BY number DESC LIMIT $3
