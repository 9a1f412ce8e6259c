-- Output of runs $1 (bigint[]) under leases $2 (uuid[]), in the order given: $3 attempt[] $4 stream[] $5 seq[] $6 dropped[] $7 text[].
-- Under a lease that is not the run's latest nothing is stored. Returns the runs that have more now.
WITH stored AS (
  INSERT INTO reproq_logs (result_id, attempt, stream, seq, dropped, text)
  SELECT t.result_id, r.attempt, r.stream, r.seq, r.dropped, r.text
    FROM unnest($1::bigint[], $2::uuid[], $3::int[], $4::text[], $5::int[], $6::bigint[], $7::text[])
         WITH ORDINALITY AS r (result_id, lease_id, attempt, stream, seq, dropped, text, ordinal)
    JOIN task_runs t ON t.result_id = r.result_id AND t.reproq_lease_id = r.lease_id
   ORDER BY r.ordinal
  RETURNING result_id
)
SELECT DISTINCT result_id::text AS run FROM stored
