-- Output of runs $1 (bigint[]), of each in the order given: $2 attempt[] $3 stream[] $4 seq[] $5 dropped[] $6 text[]. By run, because
-- the foreign key locks each: in one order everywhere. Without a fence: its handle was good when it came, and the last words of an
-- attempt must not be lost to a retry that is leased meanwhile. Returns the runs that have more now.
WITH stored AS (
  INSERT INTO reproq_logs (result_id, attempt, stream, seq, dropped, text)
  SELECT t.result_id, r.attempt, r.stream, r.seq, r.dropped, r.text
    FROM unnest($1::bigint[], $2::int[], $3::text[], $4::int[], $5::bigint[], $6::text[])
         WITH ORDINALITY AS r (result_id, attempt, stream, seq, dropped, text, ordinal)
    JOIN task_runs t ON t.result_id = r.result_id AND t.result_id = ANY ($1::bigint[])
   ORDER BY t.result_id, r.ordinal
  RETURNING result_id
)
SELECT DISTINCT result_id::text AS run FROM stored
