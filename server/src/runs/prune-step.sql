-- One step of the pruning by the clock: $1 keep (json: seconds by status), $2 runs at most. Null: another broker is at it.
SELECT deleted, again FROM reproq_prune_step($1::jsonb, $2)
