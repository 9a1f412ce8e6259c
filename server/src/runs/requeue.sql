-- FAILED or CANCELLED → READY, from the first attempt on: runs $1 (bigint[]). Returns what became of each that exists.
SELECT run::text, outcome, other::text, error FROM reproq_retry($1::bigint[])
