-- READY → RUNNING where runs have to be asked for one by one: parameters as in lease.sql, and $8, how many entries are looked at
-- beyond the free slots. What it does is in migrations/0010_gated_lease.sql; what the columns mean too.
SELECT g.*, CASE WHEN g.run IS NOT NULL THEN reproq_parents(g.run::bigint, $7::int) END AS parents,
       left_behind.*
  FROM reproq_lease_gated($1::text[], $2::int[], $3::bigint[], $4::text[], $5::uuid[], $6::float8, $8::int) g
       -- OFFSET 0: joined, a planner that expects a thousand runs would read the whole table.
       LEFT JOIN LATERAL (SELECT t.reproq_checkpoint AS checkpoint, t.reproq_crashes AS crashes FROM task_runs t WHERE t.result_id = g.run::bigint OFFSET 0) AS left_behind ON true
