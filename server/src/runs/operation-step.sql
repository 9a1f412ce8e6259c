-- One step of operation $1: looks at $2 runs at most and changes $3 at most. Returns the status after it, or null when another broker is at it.
SELECT reproq_operation_step($1::bigint, $2, $3) AS status
