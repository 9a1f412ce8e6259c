-- Of the $2 buckets after key $1, those of rate keys are forgotten that are full: the next run of the key finds none and begins with a full one.
-- Those stay that somebody has set, that runs wait for, or that were made or used less than $3 ms ago and would only come and go.
-- Returns the last key looked at, how many were, and how many are forgotten.
WITH page AS MATERIALIZED (
  SELECT key FROM rate_limits WHERE key > $1 ORDER BY key LIMIT $2
), idle AS MATERIALIZED (
  SELECT l.key FROM rate_limits l
   WHERE l.key = ANY (ARRAY(SELECT key FROM page))
     AND starts_with(l.key, 'key:') AND NOT l.reproq_by_hand AND l.last_refilled_at < now() - $3::float8 * interval '1 ms' AND reproq_tokens(l) >= l.burst_size
     AND NOT EXISTS (SELECT FROM reproq_blocked b WHERE b.key = 'rate:' || l.key COLLATE "C" OFFSET 0)
   FOR UPDATE OF l SKIP LOCKED
), gone AS (
  DELETE FROM rate_limits WHERE key = ANY (ARRAY(SELECT key FROM idle)) RETURNING key
)
SELECT (SELECT max(key) FROM page) AS last, (SELECT count(*) FROM page)::int AS looked, (SELECT count(*) FROM gone)::int AS forgotten
