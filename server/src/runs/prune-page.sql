-- One page of a pruning by hand: the $3 runs after id $1, up to $2, by $4 keep (json: seconds by status). $5: only count.
SELECT last_id::text AS "lastId", looked, due, deleted FROM reproq_prune_page($1::bigint, $2::bigint, $3, $4::jsonb, $5)
