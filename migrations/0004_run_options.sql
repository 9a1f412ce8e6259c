-- What a run may ask for beyond being run: a rate limit, a turn among tenants, a retry policy. All null for an ordinary run.

ALTER TABLE task_runs
  -- Runs with the same key share the bucket 'key:…' of rate_limits.
  ADD COLUMN IF NOT EXISTS reproq_rate_key text,
  -- Runs of one queue with different keys take turns.
  ADD COLUMN IF NOT EXISTS reproq_fair_key text,
  -- base_ms, factor, cap_ms, jitter, delays_ms, non_retryable; null: the broker's settings.
  ADD COLUMN IF NOT EXISTS reproq_retry jsonb;
