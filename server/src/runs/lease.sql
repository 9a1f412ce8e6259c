-- READY → RUNNING: the best ready runs of queues $1 (text[]), one per free slot. Slot n is at place $2[n] (int[]), which is session
-- $3[place] (bigint[]) of worker $4[place] (text[]), under lease $5[n] (uuid[]); leased_until is $6 ms away; $7: most bytes of what a run is given of its parents.
-- $8 (bigint[]): of each queue, the claim key to begin at. Queues take turns in the order given, each with its best run.
-- Returns the leased runs in that order, each with `taken`: how many entries left the ready table, and `reached`: of each queue (index into
-- $1) the claim key of its last one, as "1:key,2:key". An entry whose run is no longer READY goes without a lease; if none was leased, one row says so.
-- Leases nothing and says `gated` when one of the candidates has to be asked for, or a rate limit may apply to them: to lease
-- around it would turn the order over. That is for lease-gated.sql.
WITH limited AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM rate_limits l
                  WHERE l.tokens_per_second > 0 AND l.burst_size > 0 AND NOT starts_with(l.key, 'key:')
                    AND (l.key = 'global' OR starts_with(l.key, 'task:') OR substr(l.key, 7) = ANY ($1::text[]))) AS yes
), lane AS (
  SELECT queue_name, mark, turn FROM unnest($1::text[], $8::bigint[]) WITH ORDINALITY AS l (queue_name, mark, turn)
   WHERE NOT (SELECT yes FROM limited)
     AND NOT EXISTS (SELECT FROM reproq_queue_controls c WHERE c.queue_name = l.queue_name AND (c.paused OR c.reproq_held_until > now()))
), candidate AS MATERIALIZED (
  SELECT lane.turn, head.* FROM lane CROSS JOIN LATERAL (
    SELECT r.ctid AS place, r.claim_key, r.result_id, r.gated FROM reproq_ready r
     WHERE r.queue_name = lane.queue_name AND r.claim_key >= lane.mark
     ORDER BY r.claim_key, r.result_id LIMIT cardinality($2::int[]) FOR UPDATE SKIP LOCKED
  ) head
), next AS MATERIALIZED (
  -- Materialized: inlined, the planner may run a LIMIT more than once and take more than there are slots.
  SELECT place, turn, claim_key, result_id, row_number() OVER (ORDER BY round, turn) AS slot
    FROM (SELECT *, row_number() OVER (PARTITION BY turn ORDER BY claim_key, result_id) AS round
            FROM candidate WHERE NOT EXISTS (SELECT FROM candidate WHERE gated)) AS ranked
   ORDER BY round, turn LIMIT cardinality($2::int[])
), dealt AS MATERIALIZED (
  -- What each run is given, by its place in `runs`, which width_bucket finds by binary search: joined to `next`, a plan that was made
  -- when task_runs was empty would read all of it beside all of the batch.
  SELECT array_agg(result_id) AS runs, array_agg(slot::int) AS slots, array_agg(($2::int[])[slot]) AS places, array_agg(($5::uuid[])[slot]) AS leases
    FROM (SELECT result_id, slot FROM next ORDER BY result_id) AS ordered
), gone AS (
  -- By place, not by key: these rows are locked, and joining them by key again is what a wrong estimate makes quadratic.
  DELETE FROM reproq_ready WHERE ctid = ANY (ARRAY(SELECT place FROM next))
), leased AS (
  UPDATE task_runs t
     SET status = 'RUNNING', started_at = coalesce(t.started_at, now()), last_attempted_at = now(), attempts = t.attempts + 1,
         leased_until = now() + $6::float8 * interval '1 ms', leased_by = ($4::text[])[(SELECT places FROM dealt)[width_bucket(t.result_id, (SELECT runs FROM dealt))]],
         worker_ids = t.worker_ids || to_jsonb(($4::text[])[(SELECT places FROM dealt)[width_bucket(t.result_id, (SELECT runs FROM dealt))]]),
         reproq_lease_id = (SELECT leases FROM dealt)[width_bucket(t.result_id, (SELECT runs FROM dealt))], updated_at = now()
   WHERE t.result_id = ANY ((SELECT runs FROM dealt)::bigint[]) AND t.status = 'READY'
  RETURNING (SELECT slots FROM dealt)[width_bucket(t.result_id, (SELECT runs FROM dealt))] AS slot, t.result_id, t.reproq_lease_id, t.task_path, t.queue_name, t.attempts, t.max_attempts, t.timeout_seconds,
            t.spec_json, t.cancel_requested, t.reproq_retry, t.workflow_id, t.reproq_checkpoint, t.reproq_crashes
), held AS (
  INSERT INTO reproq_leases (result_id, session_id) SELECT result_id, ($3::bigint[])[($2::int[])[slot]] FROM leased
  ON CONFLICT (result_id) DO UPDATE SET session_id = excluded.session_id, run_until = NULL
)
SELECT (SELECT count(*)::int FROM next) AS taken, (SELECT string_agg(turn || ':' || last, ',') FROM (SELECT turn, max(claim_key) AS last FROM next GROUP BY turn) AS mark) AS reached, (SELECT yes FROM limited) OR EXISTS (SELECT FROM candidate WHERE gated) AS gated,
       l.slot - 1 AS slot, l.result_id::text AS run, l.reproq_lease_id::text AS lease,
       l.task_path AS task, l.queue_name AS queue, l.attempts AS attempt, l.max_attempts AS "maxAttempts",
       l.timeout_seconds * 1000.0::float8 AS "timeoutMs", l.spec_json::text AS spec, l.cancel_requested AS "cancelRequested", l.reproq_retry::text AS retry,
       CASE WHEN l.workflow_id IS NOT NULL THEN reproq_parents(l.result_id, $7::int) END AS parents,
       l.reproq_checkpoint AS checkpoint, l.reproq_crashes AS crashes
  FROM (VALUES (1)) AS always LEFT JOIN leased l ON true ORDER BY l.slot
