-- What a run may ask for beyond being run: a rate limit, a turn among tenants, a retry policy. All null for an ordinary run.

ALTER TABLE task_runs
  -- Runs with the same key share the bucket 'key:…' of rate_limits.
  ADD COLUMN IF NOT EXISTS reproq_rate_key text,
  -- Runs of one queue with different keys take turns.
  ADD COLUMN IF NOT EXISTS reproq_fair_key text,
  -- The turn of a run with a fair key; stands in for enqueued_at in its claim key.
  ADD COLUMN IF NOT EXISTS reproq_fair_at timestamptz,
  -- base_ms, factor, cap_ms, jitter, delays_ms, non_retryable; null: the broker's settings.
  ADD COLUMN IF NOT EXISTS reproq_retry jsonb;

-- Fair keys: start-time fair queueing, done when a run is made, so that a lease stays a walk along an index. A run's turn is one
-- step after its tenant's last, and not before the head of the queue: a tenant that comes anew stands beside what is served next.
CREATE TABLE reproq_fair (
  queue_name text NOT NULL,
  fair_key   text NOT NULL,
  next_at    timestamptz NOT NULL
) WITH (fillfactor = 50);
-- Not unique: a row that another transaction holds is passed over for a second one, instead of waiting for its end.
CREATE INDEX reproq_fair_by_key ON reproq_fair (queue_name, fair_key);

-- Where the queue stands: the turn of what is served next, or now. Several are looked at, for one of high priority may stand first.
CREATE FUNCTION reproq_fair_now(queue text) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
  RETURN least(now(), min(coalesce(t.reproq_fair_at, t.enqueued_at)))
    FROM ((SELECT r.result_id FROM reproq_ready r WHERE r.queue_name = queue ORDER BY r.claim_key, r.result_id LIMIT 16)
          UNION ALL
          (SELECT b.result_id FROM reproq_blocked b WHERE b.queue_name = queue ORDER BY b.claim_key, b.result_id LIMIT 16)) AS head
    JOIN task_runs t USING (result_id);
END $$;

CREATE FUNCTION reproq_take_turn() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  mine tid;
BEGIN
  SELECT greatest(max(f.next_at), reproq_fair_now(NEW.queue_name)) INTO NEW.reproq_fair_at
    FROM reproq_fair f WHERE f.queue_name = NEW.queue_name AND f.fair_key = NEW.reproq_fair_key;
  SELECT f.ctid INTO mine FROM reproq_fair f WHERE f.queue_name = NEW.queue_name AND f.fair_key = NEW.reproq_fair_key LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF FOUND THEN
    UPDATE reproq_fair SET next_at = NEW.reproq_fair_at + interval '1 ms' WHERE ctid = mine;
  ELSE
    INSERT INTO reproq_fair VALUES (NEW.queue_name, NEW.reproq_fair_key, NEW.reproq_fair_at + interval '1 ms');
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER reproq_take_turn BEFORE INSERT ON task_runs
  FOR EACH ROW WHEN (NEW.reproq_fair_key IS NOT NULL) EXECUTE FUNCTION reproq_take_turn();
