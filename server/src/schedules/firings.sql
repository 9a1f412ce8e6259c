-- The latest firings of schedule $1, at most $2, newest first. The status is null when the run has been pruned.
SELECT f.result_id::text AS run, f.slot, f.fired_by AS "firedBy", t.status, t.finished_at AS "finishedAt"
  FROM reproq_firings f LEFT JOIN task_runs t USING (result_id) WHERE f.name = $1 ORDER BY f.slot DESC LIMIT $2
