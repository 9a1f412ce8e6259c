-- Live states in narrow tables of our own, kept in step by trigger when others write task_runs; sessions, tokens, idempotency.
--
-- The broker's statements maintain these tables themselves: its connections set reproq.internal = on, which switches the
-- triggers off for it. Everybody else (Django, the Go worker, psql) goes through the triggers.

-- The fence: made at lease time, checked by the one UPDATE that finalizes, kept afterwards so that a result sent twice
-- is known for what it is.
ALTER TABLE task_runs ADD COLUMN IF NOT EXISTS reproq_lease_id uuid;

-- Nothing of the queue is started before this instant; a task asked for it. Set to null when it has passed.
ALTER TABLE reproq_queue_controls ADD COLUMN IF NOT EXISTS reproq_held_until timestamptz;

-- Reproq's order, priority + waited/60 s descending, as a number that never changes: enqueued_at - priority * 60 s, in µs.
CREATE FUNCTION reproq_claim_key(priority integer, enqueued_at timestamptz) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (extract(epoch FROM enqueued_at) * 1000000)::bigint - priority::bigint * 60000000;

-- The same for a run that takes turns with other tenants: fair_at is its turn (0005), null for all others.
CREATE FUNCTION reproq_claim_key(priority integer, enqueued_at timestamptz, fair_at timestamptz) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (extract(epoch FROM coalesce(fair_at, enqueued_at)) * 1000000)::bigint - priority::bigint * 60000000;

-- Whether a run must be asked for one by one (0005): it has a key with a limit, or may have expired.
CREATE FUNCTION reproq_is_gated(lock_key text, concurrency_key text, concurrency_limit integer, rate_key text, expires_at timestamptz) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN lock_key IS NOT NULL OR (concurrency_key <> '' AND concurrency_limit > 0) IS TRUE OR rate_key IS NOT NULL OR expires_at IS NOT NULL;

-- READY and due, in claim order.
CREATE TABLE reproq_ready (
  queue_name text NOT NULL,
  claim_key  bigint NOT NULL,
  result_id  bigint NOT NULL,
  gated      boolean NOT NULL DEFAULT false,
  PRIMARY KEY (queue_name, claim_key, result_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- READY, not before run_after.
CREATE TABLE reproq_scheduled (
  run_after timestamptz NOT NULL,
  result_id bigint NOT NULL,
  PRIMARY KEY (run_after, result_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Workers' presence. One row is renewed per heartbeat, however many runs the session holds. No index on what changes.
CREATE TABLE reproq_sessions (
  session_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  worker_id  text NOT NULL,
  key_hash   bytea NOT NULL,
  conn       integer NOT NULL DEFAULT 1,
  broker_id  text NOT NULL,
  expires_at timestamptz NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- RUNNING under one of our sessions.
CREATE TABLE reproq_leases (
  result_id  bigint PRIMARY KEY,
  session_id bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Milliseconds until there is a session to end: 0 or less when one has expired, or a lease is left of one that no longer exists; null when
-- there is none at all.
CREATE FUNCTION reproq_next_session_end_ms() RETURNS float8 LANGUAGE sql STABLE
  RETURN CASE WHEN EXISTS (SELECT FROM reproq_leases l WHERE NOT EXISTS (SELECT FROM reproq_sessions s WHERE s.session_id = l.session_id)) THEN 0
              ELSE (SELECT extract(epoch FROM min(s.expires_at) - now())::float8 * 1000 FROM reproq_sessions s) END;

-- RUNNING under a lease of somebody else's: the Go worker's. When that has passed, a broker takes the run back.
CREATE TABLE reproq_foreign_leases (
  result_id bigint PRIMARY KEY
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE reproq_idempotency (
  key_hash  bytea PRIMARY KEY,
  result_id bigint NOT NULL REFERENCES task_runs (result_id) ON DELETE CASCADE
);
CREATE INDEX reproq_idempotency_run ON reproq_idempotency (result_id);

-- Bearer tokens, stored as SHA-256 of a random 256-bit value.
CREATE TABLE reproq_tokens (
  token_hash bytea PRIMARY KEY,
  name       text NOT NULL UNIQUE,
  scopes     text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz
);

-- Puts a run where its state says: ready or scheduled, and says so. The payload is a hint and never data:
-- more than 7,999 bytes would abort the transaction of whoever enqueues, so a long queue name is said as "any".
CREATE FUNCTION reproq_admit(run task_runs) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF run.status <> 'READY' THEN
    RETURN;
  END IF;
  IF run.run_after IS NULL OR run.run_after <= clock_timestamp() THEN
    INSERT INTO reproq_ready (queue_name, claim_key, result_id, gated)
    VALUES (run.queue_name, reproq_claim_key(run.priority, run.enqueued_at, run.reproq_fair_at), run.result_id,
            reproq_is_gated(run.lock_key, run.concurrency_key, run.concurrency_limit, run.reproq_rate_key, run.expires_at))
    ON CONFLICT DO NOTHING;
    PERFORM pg_notify('reproq_ready', CASE WHEN octet_length(run.queue_name) <= 255 THEN run.queue_name ELSE '' END);
  ELSE
    INSERT INTO reproq_scheduled VALUES (run.run_after, run.result_id) ON CONFLICT DO NOTHING;
    PERFORM pg_notify('reproq_scheduled', '');
  END IF;
END $$;

CREATE FUNCTION reproq_withdraw(run task_runs) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF run.status = 'READY' THEN
    -- First blocked, then ready: that is the way a run may be going just now.
    DELETE FROM reproq_blocked b WHERE b.result_id = run.result_id;
    DELETE FROM reproq_ready r
     WHERE r.queue_name = run.queue_name AND r.claim_key = reproq_claim_key(run.priority, run.enqueued_at, run.reproq_fair_at) AND r.result_id = run.result_id;
    DELETE FROM reproq_scheduled s WHERE s.run_after = run.run_after AND s.result_id = run.result_id;
  END IF;
END $$;

CREATE FUNCTION reproq_track_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM reproq_admit(NEW);
  PERFORM reproq_hold(NEW);
  IF NEW.status = 'RUNNING' THEN
    INSERT INTO reproq_foreign_leases VALUES (NEW.result_id) ON CONFLICT DO NOTHING;
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION reproq_track_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (OLD.status, OLD.queue_name, OLD.priority, OLD.enqueued_at, OLD.run_after, OLD.reproq_fair_at,
      OLD.lock_key, OLD.concurrency_key, OLD.concurrency_limit, OLD.reproq_rate_key, OLD.expires_at)
     IS DISTINCT FROM (NEW.status, NEW.queue_name, NEW.priority, NEW.enqueued_at, NEW.run_after, NEW.reproq_fair_at,
      NEW.lock_key, NEW.concurrency_key, NEW.concurrency_limit, NEW.reproq_rate_key, NEW.expires_at) THEN
    PERFORM reproq_withdraw(OLD);
    PERFORM reproq_admit(NEW);
    IF OLD.status = 'READY' AND NEW.status = 'READY' THEN
      -- It may have been let through by its keys, and now takes another place: the next one's turn.
      PERFORM reproq_pass_on(OLD);
    END IF;
  END IF;
  IF OLD.reproq_lease_id IS NOT NULL AND (OLD.status, OLD.leased_by) IS DISTINCT FROM (NEW.status, NEW.leased_by) THEN
    -- Somebody else took the run from our worker (the Go reclaim, Admin): from here on its lease proves nothing.
    DELETE FROM reproq_leases WHERE result_id = NEW.result_id;
    UPDATE task_runs SET reproq_lease_id = NULL WHERE result_id = NEW.result_id;
  END IF;
  IF NEW.status = 'RUNNING' THEN
    IF (OLD.status, OLD.leased_by) IS DISTINCT FROM (NEW.status, NEW.leased_by) THEN
      INSERT INTO reproq_foreign_leases VALUES (NEW.result_id) ON CONFLICT DO NOTHING;
    END IF;
  ELSIF OLD.status = 'RUNNING' THEN
    DELETE FROM reproq_foreign_leases f WHERE f.result_id = NEW.result_id;
  END IF;
  IF NEW.status = 'READY' AND OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') AND NEW.cancel_requested AND OLD.cancel_requested THEN
    -- Admin's retry leaves the wish to cancel standing. It was about the run that has ended, and would end this one at once.
    UPDATE task_runs SET cancel_requested = false WHERE result_id = NEW.result_id;
  END IF;
  IF NEW.cancel_requested AND NOT OLD.cancel_requested THEN
    PERFORM pg_notify('reproq_cancel', NEW.result_id::text);
  END IF;
  RETURN NULL;
END $$;

CREATE FUNCTION reproq_track_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM reproq_withdraw(OLD);
  DELETE FROM reproq_leases l WHERE l.result_id = OLD.result_id;
  DELETE FROM reproq_foreign_leases f WHERE f.result_id = OLD.result_id;
  RETURN NULL;
END $$;

CREATE TRIGGER reproq_track_insert AFTER INSERT ON task_runs
  FOR EACH ROW WHEN (current_setting('reproq.internal', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION reproq_track_insert();
CREATE TRIGGER reproq_track_update AFTER UPDATE ON task_runs
  FOR EACH ROW WHEN (current_setting('reproq.internal', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION reproq_track_update();
CREATE TRIGGER reproq_track_delete AFTER DELETE ON task_runs
  FOR EACH ROW WHEN (current_setting('reproq.internal', true) IS DISTINCT FROM 'on' AND OLD.status IN ('READY', 'RUNNING'))
  EXECUTE FUNCTION reproq_track_delete();

CREATE FUNCTION reproq_track_queue_control() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('reproq_ready', '');
  IF TG_OP <> 'DELETE' AND NEW.reproq_held_until IS NOT NULL THEN
    -- Every broker sets its timer to the end of it.
    PERFORM pg_notify('reproq_scheduled', '');
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER reproq_track_queue_control AFTER INSERT OR UPDATE OR DELETE ON reproq_queue_controls
  FOR EACH ROW EXECUTE FUNCTION reproq_track_queue_control();

-- What waited before we came.
INSERT INTO reproq_ready (queue_name, claim_key, result_id)
  SELECT queue_name, reproq_claim_key(priority, enqueued_at), result_id FROM task_runs WHERE status = 'READY' AND (run_after IS NULL OR run_after <= now());
INSERT INTO reproq_scheduled
  SELECT run_after, result_id FROM task_runs WHERE status = 'READY' AND run_after > now();
INSERT INTO reproq_foreign_leases
  SELECT result_id FROM task_runs WHERE status = 'RUNNING';
