-- What a run may ask for beyond being run: a rate limit, a turn among tenants, a retry policy, all null for an ordinary run; to be
-- the only one of its kind; and not to be started too late.

ALTER TABLE task_runs
  -- Runs with the same key share the bucket 'key:…' of rate_limits.
  ADD COLUMN IF NOT EXISTS reproq_rate_key text,
  -- What that bucket is to be where there is none: tokens that flow in a second, and how many it holds.
  ADD COLUMN IF NOT EXISTS reproq_rate_per_second real,
  ADD COLUMN IF NOT EXISTS reproq_rate_burst integer,
  -- Runs of one queue with different keys take turns.
  ADD COLUMN IF NOT EXISTS reproq_fair_key text,
  -- The turn of a run with a fair key; stands in for enqueued_at in its claim key.
  ADD COLUMN IF NOT EXISTS reproq_fair_at timestamptz,
  -- base_ms, factor, cap_ms, jitter, delays_ms, non_retryable; null: the broker's settings.
  ADD COLUMN IF NOT EXISTS reproq_retry jsonb;

-- Until when running code may go on that asked for another limit; null: as long as its timeout says. It ends with the lease.
ALTER TABLE reproq_leases ADD COLUMN run_until timestamptz;

-- A limit that somebody has set for a key stays as it is, whatever the runs of that key say: theirs, which follow the last of them, are
-- false here. True for everybody else who makes one (Django, psql).
ALTER TABLE rate_limits ADD COLUMN IF NOT EXISTS reproq_by_hand boolean NOT NULL DEFAULT true;

-- A cheap question for every lease: is there any rate limit on tasks, queues or everything?
CREATE INDEX reproq_active_limits ON rate_limits (key) WHERE tokens_per_second > 0 AND burst_size > 0 AND NOT starts_with(key, 'key:');

-- The tokens a bucket has now: infinity without a limit.
CREATE FUNCTION reproq_tokens(bucket rate_limits) RETURNS float8 LANGUAGE sql VOLATILE
  RETURN CASE WHEN bucket.tokens_per_second > 0 AND bucket.burst_size > 0
              THEN least(bucket.burst_size, bucket.current_tokens + greatest(0, extract(epoch FROM clock_timestamp() - bucket.last_refilled_at)) * bucket.tokens_per_second)::float8
              ELSE 'infinity' END;

-- The bucket of Reproq's that applies to a task in a queue: the first that exists, also when it is switched off.
CREATE FUNCTION reproq_bucket_of(task_path text, queue_name text) RETURNS text LANGUAGE sql STABLE
  RETURN (SELECT key FROM rate_limits WHERE key IN ('task:' || task_path, 'queue:' || queue_name, 'global')
           ORDER BY CASE WHEN starts_with(key, 'task:') THEN 1 WHEN starts_with(key, 'queue:') THEN 2 ELSE 3 END LIMIT 1);

-- The bucket of a key that was forgotten, as they are when they are full: it begins again as a run of that key says. Returns its tokens; 0
-- where somebody else is making it, whom nobody under the gate waits for.
CREATE FUNCTION reproq_renew_bucket(name text, per_second real, burst integer) RETURNS float8 LANGUAGE plpgsql SET lock_timeout TO '1ms' AS $$
BEGIN
  INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens, reproq_by_hand) VALUES (name, per_second, burst, burst, false) ON CONFLICT DO NOTHING;
  RETURN CASE WHEN FOUND THEN burst ELSE 0 END;
EXCEPTION WHEN lock_not_available THEN
  RETURN 0;
END $$;

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
          (SELECT b.result_id FROM reproq_blocked b WHERE b.queue_name = queue COLLATE "C" ORDER BY b.claim_key, b.result_id LIMIT 16)) AS head
    CROSS JOIN LATERAL (SELECT * FROM task_runs WHERE task_runs.result_id = head.result_id OFFSET 0) AS t;
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

-- Whether the run may still be executed: it waits or runs, and has not expired while it waited.
CREATE FUNCTION reproq_may_start(status text, expires_at timestamptz) RETURNS boolean
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN status = 'RUNNING' OR (status IN ('WAITING', 'READY') AND (expires_at > now()) IS NOT FALSE);

-- What a run says that came too late.
CREATE FUNCTION reproq_expiry_text(expires_at timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
  RETURN 'Not started before it expired at ' || to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
         || '; now it is ' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- Whether a run can be seen to be over, as of now: volatile, so it looks for itself. A statement that has waited for a row of
-- reproq_unique sees task_runs as it was before it waited, and the run that it finds over may have been retried meanwhile.
CREATE FUNCTION reproq_is_over(run bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM task_runs t WHERE t.result_id = run AND NOT reproq_may_start(t.status, t.expires_at));
END $$;

-- Which run has a spec_hash for itself: of the runs that asked to be deduplicated, the one that may still start, or was the last
-- to. Freed by the next enqueue of an equal run, which finds it over: no run pays for that when it ends.
CREATE TABLE reproq_unique (
  spec_hash text PRIMARY KEY,
  result_id bigint NOT NULL
);

-- Runs of those who write task_runs themselves (Django). Not unique: their transactions may be long, and must not wait for each
-- other here. So an equal run of ours finds those that have committed.
CREATE TABLE reproq_twins (
  spec_hash text NOT NULL,
  result_id bigint NOT NULL,
  PRIMARY KEY (spec_hash, result_id)
);

-- Ends those of the runs that wait and have expired. As a foreign writer does, so that their entries go with them. What somebody else
-- holds is theirs: they are ending it, or starting it.
CREATE FUNCTION reproq_end_expired(runs bigint[]) RETURNS SETOF task_runs LANGUAGE sql SET reproq.internal TO 'off' AS $$
  UPDATE task_runs t
     SET status = 'CANCELLED', finished_at = now(), updated_at = now(), last_error = 'expired: ' || reproq_expiry_text(t.expires_at),
         errors_json = t.errors_json || jsonb_build_object('kind', 'expired', 'message', reproq_expiry_text(t.expires_at), 'at', now())
   WHERE t.result_id = ANY (ARRAY(
     SELECT e.result_id FROM task_runs e WHERE e.result_id = ANY (runs) AND e.status IN ('WAITING', 'READY') AND e.expires_at <= clock_timestamp()
      ORDER BY e.result_id FOR NO KEY UPDATE SKIP LOCKED))
  RETURNING t.*
$$;

-- In a database of the Go schema, which allows one active run per hash, whoever made it and whatever it asked for: that one. Null
-- elsewhere, where no index could find it. One that has expired must not keep its hash, so it is ended here.
CREATE FUNCTION reproq_active_twin(digest text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  twin bigint;
  may_start boolean;
BEGIN
  IF to_regclass('idx_task_runs_spec_unique') IS NULL THEN
    RETURN NULL;
  END IF;
  IF (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = 'task_runs'::regclass AND a.attname = 'spec_hash') = 'bpchar'::regtype THEN
    -- Compared as text, the column would be cast and the index of no use.
    SELECT t.result_id, reproq_may_start(t.status, t.expires_at) INTO twin, may_start FROM task_runs t WHERE t.spec_hash = digest::bpchar AND t.status IN ('READY', 'RUNNING') LIMIT 1;
  ELSE
    SELECT t.result_id, reproq_may_start(t.status, t.expires_at) INTO twin, may_start FROM task_runs t WHERE t.spec_hash = digest AND t.status IN ('READY', 'RUNNING') LIMIT 1;
  END IF;
  IF NOT may_start THEN
    -- Nobody else says so: the enqueue is about another run.
    PERFORM pg_notify('reproq_expired', e.result_id::text) FROM reproq_end_expired(ARRAY[twin]) e;
    RETURN NULL;
  END IF;
  RETURN twin;
END $$;

CREATE FUNCTION reproq_register_twin() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  digest text := rtrim(NEW.spec_hash);
BEGIN
  -- What is over goes when the next one comes, so that a hash that comes every minute keeps few entries. What somebody else is
  -- at is left to them.
  DELETE FROM reproq_twins w USING (
    SELECT o.result_id FROM reproq_twins o JOIN task_runs t USING (result_id)
     WHERE o.spec_hash = digest AND NOT reproq_may_start(t.status, t.expires_at) LIMIT 100 FOR UPDATE OF o SKIP LOCKED
  ) over WHERE w.spec_hash = digest AND w.result_id = over.result_id;
  INSERT INTO reproq_twins VALUES (digest, NEW.result_id) ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
-- reproq_enqueue() switches it off: what it makes has a hash of its own, or is in reproq_unique.
CREATE TRIGGER reproq_register_twin AFTER INSERT ON task_runs FOR EACH ROW
  WHEN (current_setting('reproq.internal', true) IS DISTINCT FROM 'on' AND current_setting('reproq.twins', true) IS DISTINCT FROM 'off'
        AND NEW.status IN ('WAITING', 'READY', 'RUNNING'))
  EXECUTE FUNCTION reproq_register_twin();
-- Of every writer: a run that was over may have been forgotten, or have lost its hash to one that is over by now.
CREATE TRIGGER reproq_register_retried AFTER UPDATE ON task_runs FOR EACH ROW
  WHEN (OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') AND NEW.status IN ('WAITING', 'READY'))
  EXECUTE FUNCTION reproq_register_twin();

-- By trigger rather than foreign key, whose check every update of every run would pay for.
CREATE FUNCTION reproq_forget_hashes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    TRUNCATE reproq_unique, reproq_twins;
  ELSE
    DELETE FROM reproq_unique u USING gone g WHERE u.spec_hash = rtrim(g.spec_hash) AND u.result_id = g.result_id;
    DELETE FROM reproq_twins w USING gone g WHERE w.spec_hash = rtrim(g.spec_hash) AND w.result_id = g.result_id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER reproq_forget_hashes AFTER DELETE ON task_runs REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION reproq_forget_hashes();
CREATE TRIGGER reproq_forget_all_hashes AFTER TRUNCATE ON task_runs FOR EACH STATEMENT EXECUTE FUNCTION reproq_forget_hashes();

-- What others had enqueued before we came.
INSERT INTO reproq_twins SELECT rtrim(spec_hash), result_id FROM task_runs WHERE status IN ('WAITING', 'READY', 'RUNNING');

-- When runs that wait expire: every run with an expires_at has its entry from when it is made (or waits again) until that instant
-- has passed, whatever it does meanwhile. So nobody pays for it when a run starts or ends.
CREATE TABLE reproq_expiring (
  expires_at timestamptz NOT NULL,
  result_id  bigint NOT NULL,
  PRIMARY KEY (expires_at, result_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

CREATE FUNCTION reproq_track_expiry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  moment CONSTANT timestamptz := clock_timestamp();
BEGIN
  IF NOT EXISTS (SELECT FROM reproq_expiring e WHERE e.expires_at > moment AND e.expires_at <= NEW.expires_at) THEN
    -- The first to come: every broker sets its timer. For the others it is set already. What is overdue, because somebody holds its
    -- run, sets none.
    PERFORM pg_notify('reproq_expiring', '');
  END IF;
  INSERT INTO reproq_expiring VALUES (NEW.expires_at, NEW.result_id) ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
-- Of every writer, ourselves included.
CREATE TRIGGER reproq_track_expiry AFTER INSERT OR UPDATE OF status, expires_at ON task_runs
  FOR EACH ROW WHEN (NEW.expires_at IS NOT NULL AND NEW.status IN ('WAITING', 'READY') AND isfinite(NEW.expires_at)) EXECUTE FUNCTION reproq_track_expiry();

INSERT INTO reproq_expiring
  SELECT expires_at, result_id FROM task_runs WHERE status IN ('WAITING', 'READY') AND expires_at IS NOT NULL AND isfinite(expires_at);
