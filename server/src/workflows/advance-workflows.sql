-- Advance workflows by one step: at most $1 notes about runs that came, went, ended or began anew. What is done stands in the
-- function (migration 0006). Returns one row.
SELECT busy, taken, postponed, runs::text FROM reproq_advance_workflows($1::int)
