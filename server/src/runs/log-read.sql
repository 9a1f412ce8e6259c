-- Output of run $1 behind entry $2, oldest first: at most $5 pieces, of attempt $3 and stream $4 (null: any).
SELECT entry_id::text AS id, attempt, stream, seq, dropped::float8 AS dropped, logged_at AS "loggedAt", text
  FROM reproq_logs
 WHERE result_id = $1 AND entry_id > $2 AND ($3::int IS NULL OR attempt = $3) AND ($4::text IS NULL OR stream = $4)
 ORDER BY entry_id LIMIT $5
