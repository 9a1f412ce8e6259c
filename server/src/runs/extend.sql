-- Keep leased_until truthful for Reproq's tools: push it to $1 ms from now for held runs that have less than half of that left.
UPDATE task_runs t SET leased_until = now() + $1::float8 * interval '1 ms'
  FROM reproq_leases l JOIN reproq_sessions s USING (session_id)
 WHERE t.result_id = l.result_id AND t.status = 'RUNNING' AND s.expires_at > now()
   AND t.leased_until < now() + $1::float8 * interval '0.5 ms'
