-- Leased runs that need a word: somebody asked to cancel them, or their run-time limit passed $1 ms ago (late). Only runs of sessions $2 (bigint[]).
-- The limit is their own timeout, or what their code was granted last.
SELECT l.result_id::text AS run, t.late
  FROM reproq_leases l
 CROSS JOIN LATERAL (
   -- OFFSET 0: from the leases to their runs, also where the planner takes task_runs for the smaller one.
   SELECT r.cancel_requested, coalesce(l.run_until, r.last_attempted_at + r.timeout_seconds * interval '1 s') + $1::float8 * interval '1 ms' < now() AS late
     FROM task_runs r WHERE r.result_id = l.result_id OFFSET 0
 ) t
 WHERE l.session_id = ANY ($2::bigint[]) AND (t.cancel_requested OR t.late)
 ORDER BY l.result_id
