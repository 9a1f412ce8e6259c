-- Leased runs that need a word: somebody asked to cancel them, or their run-time limit passed $1 ms ago (late). Only runs of sessions $2 (bigint[]).
-- The limit is their own timeout, or what their code was granted last.
SELECT l.result_id::text AS run, coalesce(l.run_until, t.last_attempted_at + t.timeout_seconds * interval '1 s') + $1::float8 * interval '1 ms' < now() AS late
  FROM reproq_leases l JOIN task_runs t USING (result_id)
 WHERE l.session_id = ANY ($2::bigint[])
   AND (t.cancel_requested OR coalesce(l.run_until, t.last_attempted_at + t.timeout_seconds * interval '1 s') + $1::float8 * interval '1 ms' < now())
