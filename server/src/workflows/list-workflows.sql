-- Newest first: at most $3 workflows before number $2 (null: from the top), with status $1 (null: any).
SELECT w.number::text, workflow_id::text AS id, name, status, created_at AS "createdAt", total, succeeded, failed, cancelled, skipped
  FROM reproq_workflows w
 WHERE ($1::text IS NULL OR status = $1) AND ($2::bigint IS NULL OR w.number < $2)
 ORDER BY w.number DESC LIMIT $3
