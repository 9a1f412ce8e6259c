-- Operation $1 does no further step. What it has done stays.
UPDATE reproq_operations SET status = 'STOPPED', finished_at = now(), updated_at = now() WHERE operation_id = $1::bigint AND status = 'RUNNING'
RETURNING operation_id::text AS id
