-- Rows of reproq_fair that say nothing any more, at most $1: the tenant's next turn is not after what its queue serves next.
WITH queue AS MATERIALIZED (
  SELECT queue_name, reproq_fair_now(queue_name) AS at FROM (SELECT DISTINCT queue_name FROM reproq_fair) AS known
), idle AS MATERIALIZED (
  SELECT f.ctid AS place FROM reproq_fair f JOIN queue q USING (queue_name) WHERE f.next_at <= q.at LIMIT $1 FOR UPDATE OF f SKIP LOCKED
)
DELETE FROM reproq_fair WHERE ctid = ANY (ARRAY(SELECT place FROM idle))
