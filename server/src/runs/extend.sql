-- Keep leased_until truthful for Reproq's tools: push it to $1 ms from now for held runs that have less than half of that left.
UPDATE task_runs t SET leased_until = now() + $1::float8 * interval '1 ms'
  -- As an array: joined, a plan that was made when task_runs was empty would read all of it for every lease.
 WHERE t.result_id = ANY (ARRAY(
         SELECT l.result_id FROM reproq_leases l JOIN reproq_sessions s USING (session_id) WHERE s.expires_at > now()))
   AND t.status = 'RUNNING' AND t.leased_until < now() + $1::float8 * interval '0.5 ms'
