-- Rate limits by key: all, or those of keys $1 (text[], null: all); at most $2 (null: all) of those after key $3 (null: from the first). What they hold is said as of now.
SELECT l.key, l.tokens_per_second::float8 AS "perSecond", l.burst_size AS burst, nullif(reproq_tokens(l), 'infinity') AS tokens
  FROM rate_limits l WHERE ($1::text[] IS NULL OR l.key = ANY ($1::text[])) AND ($3::text IS NULL OR l.key > $3::text) ORDER BY l.key LIMIT $2::int
