-- Buckets of rate keys that are full are forgotten, at most $1 of them: the next run of the key finds none and begins with a full one.
-- Those stay that somebody has set, that runs wait for, or that were made or used less than $2 ms ago and would only come and go.
WITH idle AS MATERIALIZED (
  SELECT l.ctid AS place FROM rate_limits l
   WHERE starts_with(l.key, 'key:') AND NOT l.reproq_by_hand AND l.last_refilled_at < now() - $2::float8 * interval '1 ms' AND reproq_tokens(l) >= l.burst_size
     AND NOT EXISTS (SELECT FROM reproq_blocked b WHERE b.key = 'rate:' || l.key COLLATE "C")
   LIMIT $1 FOR UPDATE OF l SKIP LOCKED
)
DELETE FROM rate_limits WHERE ctid = ANY (ARRAY(SELECT place FROM idle))
