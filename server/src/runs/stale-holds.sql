-- Keys held for runs that are not RUNNING are let go. Triggers see to that, but not to a TRUNCATE, a restored backup or a replica's
-- rows. One snapshot sees a run and what it holds alike. Returns how many there were.
WITH stale AS (
  DELETE FROM reproq_holds h WHERE NOT EXISTS (SELECT FROM task_runs t WHERE t.result_id = h.result_id AND t.status = 'RUNNING') RETURNING key
), freed AS (
  INSERT INTO reproq_freed (key) SELECT DISTINCT key FROM stale
)
SELECT count(*)::int AS count FROM stale
