-- Operations, newest first: at most $3 below id $2 (null: from the top), or only the one with id $1 (null: any). Unfinished ones only if $4.
SELECT operation_id::text AS id, action, filter::text AS filter, status, error, requested_by AS "requestedBy", matched::text, changed::text, unchanged::text,
       CASE WHEN status = 'DONE' OR last_id <= first_id THEN 1 ELSE (cursor_id - first_id)::float8 / (last_id - first_id) END AS progress,
       created_at AS "createdAt", updated_at AS "updatedAt", finished_at AS "finishedAt"
  FROM reproq_operations
 WHERE ($1::bigint IS NULL OR operation_id = $1) AND ($2::bigint IS NULL OR operation_id < $2) AND (status = 'RUNNING' OR NOT $4::boolean)
 ORDER BY operation_id DESC LIMIT $3
