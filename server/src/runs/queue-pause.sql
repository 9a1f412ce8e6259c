-- Queue $1 is paused (for reason $2), or goes on ($3 false). Every broker is told by trigger; runs that have started go on.
INSERT INTO reproq_queue_controls AS c (queue_name, paused, paused_at, reason) VALUES ($1, $3, CASE WHEN $3 THEN now() END, CASE WHEN $3 THEN $2::text END)
ON CONFLICT (queue_name) DO UPDATE
  -- Pausing again keeps the instant of the first time.
  SET paused = excluded.paused, paused_at = CASE WHEN excluded.paused AND c.paused THEN c.paused_at ELSE excluded.paused_at END,
      reason = CASE WHEN excluded.paused THEN coalesce(excluded.reason, CASE WHEN c.paused THEN c.reason END) END, updated_at = now()
RETURNING queue_name AS name, paused, paused_at AS "pausedAt", reason
