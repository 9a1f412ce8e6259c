-- A new run like each of runs $1 (bigint[]) that is over. Returns what became of each that exists; `other`: the new run.
SELECT run::text, outcome, other::text, error FROM reproq_replay($1::bigint[])
