-- READY → RUNNING where runs have to be asked for one by one: parameters as in lease.sql, and $7, how many entries are looked at
-- beyond the free slots. What it does is in migrations/0005_gates.sql; what the columns mean too.
SELECT * FROM reproq_lease_gated($1::text[], $2::int[], $3::bigint[], $4::text[], $5::uuid[], $6::float8, $7::int)
