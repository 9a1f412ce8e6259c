-- Gates: locks, concurrency limits and rate limits decide which ready run may start. The lease itself is in 0010.
--
-- A run that must be asked for one by one has a gated entry in reproq_ready, and reproq_lease_gated leases it. A run
-- that may not start yet leaves reproq_ready for reproq_blocked, under the one key that stopped it, and comes back when that
-- key has room (reproq_let_through): nobody walks over it meanwhile, however many there are. Everything that decides does so
-- under one advisory lock (reproq_enter_gate).
--
-- Keys: 'lock:…', 'concurrency:…' (both held by running runs: reproq_holds) and 'rate:…' (the key of a row of rate_limits).

-- READY, but its key has no room. `room` is how many the run's own limit allows; 0 under a rate key. COLLATE "C": a prefix is a range.
CREATE TABLE reproq_blocked (
  result_id  bigint PRIMARY KEY,
  key        text COLLATE "C" NOT NULL,
  room       integer NOT NULL,
  queue_name text NOT NULL,
  claim_key  bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX reproq_blocked_by_key ON reproq_blocked (key, room, queue_name, claim_key, result_id);
-- COLLATE "C", so that it serves only those that ask for a queue in that collation: a plan made when few are blocked could otherwise
-- look for a key's runs among all of their queue.
CREATE INDEX reproq_blocked_in_queue ON reproq_blocked (queue_name COLLATE "C", claim_key, result_id);

-- What running runs hold. As rows, not as a counter: those who let go do not wait for each other.
CREATE TABLE reproq_holds (
  result_id bigint NOT NULL,
  key       text COLLATE "C" NOT NULL,
  PRIMARY KEY (result_id, key)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX reproq_holds_by_key ON reproq_holds (key, result_id);

-- Keys that have got room, for whoever lets through next. No key of its own: writers never wait for each other here.
-- `every`: what is blocked under any key with this prefix is to be asked again.
CREATE TABLE reproq_freed (
  key   text COLLATE "C" NOT NULL,
  every boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- When keys are to be asked again: those of rates that runs wait for, when there is a token; any whose runs somebody holds, soon.
CREATE TABLE reproq_refills (
  key    text COLLATE "C" PRIMARY KEY,
  due_at timestamptz NOT NULL
);
CREATE INDEX reproq_refills_due ON reproq_refills (due_at);

-- A key must fit into an index, whatever Django gave it.
CREATE FUNCTION reproq_gate_key(kind text, key text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN kind || ':' || CASE WHEN octet_length(key) <= 512 THEN key ELSE 'sha256:' || encode(sha256(convert_to(key, 'UTF8')), 'hex') END;

-- The keys a run holds while it is running. An empty lock key is a key, an empty concurrency key is none, as in Reproq.
CREATE FUNCTION reproq_keys(lock_key text, concurrency_key text, concurrency_limit integer) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN array_remove(ARRAY[reproq_gate_key('lock', lock_key),
                            CASE WHEN concurrency_key <> '' AND concurrency_limit > 0 THEN reproq_gate_key('concurrency', concurrency_key) END], NULL);

CREATE FUNCTION reproq_hold(run task_runs) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF run.status = 'RUNNING' AND (run.lock_key IS NOT NULL OR run.concurrency_key IS NOT NULL) THEN
    INSERT INTO reproq_holds (result_id, key)
    SELECT run.result_id, unnest(reproq_keys(run.lock_key, run.concurrency_key, run.concurrency_limit)) ON CONFLICT DO NOTHING;
  END IF;
END $$;

-- A broker looks by itself after its own statements; only others have to say something.
CREATE FUNCTION reproq_tell_freed() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('reproq.internal', true) IS DISTINCT FROM 'on' THEN
    PERFORM pg_notify('reproq_freed', '');
  END IF;
END $$;

-- A run that its keys have let through does not come: they have room for the next.
CREATE FUNCTION reproq_pass_on(run task_runs) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF run.lock_key IS NOT NULL OR run.concurrency_key IS NOT NULL THEN
    INSERT INTO reproq_freed (key) SELECT unnest(reproq_keys(run.lock_key, run.concurrency_key, run.concurrency_limit));
    PERFORM reproq_tell_freed();
  END IF;
END $$;

-- Every change of status of a run with keys, whoever makes it: what it takes and what it lets go.
CREATE FUNCTION reproq_track_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.status = 'RUNNING' THEN
    PERFORM reproq_hold(NEW);
  ELSIF OLD.status = 'RUNNING' THEN
    WITH gone AS (DELETE FROM reproq_holds h WHERE h.result_id = OLD.result_id RETURNING key)
    INSERT INTO reproq_freed (key) SELECT key FROM gone;
    PERFORM reproq_tell_freed();
  ELSIF OLD.status = 'READY' THEN
    PERFORM reproq_pass_on(OLD);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER reproq_track_keys AFTER UPDATE ON task_runs
  FOR EACH ROW WHEN (OLD.status <> NEW.status AND (OLD.lock_key IS NOT NULL OR OLD.concurrency_key IS NOT NULL OR NEW.lock_key IS NOT NULL OR NEW.concurrency_key IS NOT NULL))
  EXECUTE FUNCTION reproq_track_keys();
CREATE TRIGGER reproq_track_keys_of_deleted AFTER DELETE ON task_runs
  FOR EACH ROW WHEN (OLD.lock_key IS NOT NULL OR OLD.concurrency_key IS NOT NULL) EXECUTE FUNCTION reproq_track_keys();

-- A limit that is new or has other numbers holds at once. Our own charges change only tokens, and fire nothing.
-- Which of task:, queue: and global applies to a run depends on which exist; so all that wait for a rate are asked again.
CREATE FUNCTION reproq_track_limit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  changed text := CASE WHEN TG_OP = 'DELETE' THEN OLD.key ELSE NEW.key END;
  all_of_them boolean := TG_OP <> 'UPDATE' AND NOT starts_with(changed, 'key:');
BEGIN
  -- A key's bucket matters to nobody but those that wait for it.
  IF NOT starts_with(changed, 'key:') OR EXISTS (SELECT FROM reproq_blocked b WHERE b.key = 'rate:' || changed COLLATE "C") THEN
    INSERT INTO reproq_freed (key, every) VALUES ('rate:' || CASE WHEN all_of_them THEN '' ELSE changed END, all_of_them);
    PERFORM pg_notify('reproq_freed', '');
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER reproq_track_limit AFTER INSERT OR DELETE OR UPDATE OF tokens_per_second, burst_size ON rate_limits
  FOR EACH ROW EXECUTE FUNCTION reproq_track_limit();

-- One at a time, in all brokers, until the end of the transaction. What is read in the statements after this one (not in this
-- one: its snapshot is older than the lock it waited for) includes all that earlier holders have written. The setting is for the
-- wait alone; a gate is held for milliseconds, but several brokers may queue.
CREATE FUNCTION reproq_enter_gate() RETURNS void LANGUAGE plpgsql SET lock_timeout TO '10s' AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7241865326);
END $$;

-- Blocked → ready, under the gate: for each key that was freed as many as it has room for, for each bucket that is due as many as it
-- has tokens, best first. Of each queue so many: the head of a queue that is paused, or that nobody works on, must not keep
-- the room from the others; whoever comes too late is blocked again. Returns the queues that have got something.
-- `most`: keys looked at, and runs of one key that has no limit any more.
CREATE FUNCTION reproq_let_through(most integer) RETURNS text[] LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  woken text[];
BEGIN
  WITH RECURSIVE popped AS (
    DELETE FROM reproq_freed WHERE ctid = ANY (ARRAY(SELECT ctid FROM reproq_freed LIMIT most)) RETURNING key, every
  ), due AS (
    DELETE FROM reproq_refills WHERE key = ANY (ARRAY(SELECT key FROM reproq_refills WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT most)) RETURNING key
  ), freed AS MATERIALIZED (
    SELECT key, bool_or(every) AS every FROM (SELECT key, every FROM popped UNION ALL SELECT key, false FROM due) AS either GROUP BY key
  ), bucket AS MATERIALIZED (
    SELECT f.key, b.tokens_per_second AS rate, CASE WHEN b.key IS NULL THEN 'infinity' ELSE reproq_tokens(b) END AS tokens
      FROM freed f LEFT JOIN rate_limits b ON b.key = substr(f.key, 6) WHERE starts_with(f.key, 'rate:') AND NOT f.every
  ), place (sought, every, key, room, queue_name) AS (
    -- The queues of each key, and the limits of its runs, found by jumping from one to the next.
    SELECT f.key, f.every, first.* FROM freed f CROSS JOIN LATERAL (
      SELECT b.key, b.room, b.queue_name FROM reproq_blocked b WHERE b.key >= f.key ORDER BY b.key, b.room, b.queue_name LIMIT 1
    ) AS first
    UNION ALL
    SELECT p.sought, p.every, next.* FROM place p CROSS JOIN LATERAL (
      SELECT b.key, b.room, b.queue_name FROM reproq_blocked b WHERE (b.key, b.room, b.queue_name) > (p.key, p.room, p.queue_name)
       ORDER BY b.key, b.room, b.queue_name LIMIT 1
    ) AS next
     WHERE CASE WHEN p.every THEN starts_with(p.key, p.sought) ELSE p.key = p.sought END
  ), line AS MATERIALIZED (
    SELECT p.key, p.room, p.queue_name,
           CASE WHEN p.every THEN NULL
                WHEN p.room = 0 THEN (SELECT least(floor(tokens), most)::bigint FROM bucket WHERE bucket.key = p.key)
                ELSE p.room - (SELECT count(*) FROM (SELECT FROM reproq_holds h WHERE h.key = p.key LIMIT p.room) AS held) END AS places
      FROM place p WHERE CASE WHEN p.every THEN starts_with(p.key, p.sought) ELSE p.key = p.sought END
  ), head AS MATERIALIZED (
    -- Past runs that somebody is changing: to wait for him would stop everything that is gated.
    SELECT best.* FROM line l CROSS JOIN LATERAL (
      SELECT b.ctid AS place, b.key, b.room, b.queue_name FROM reproq_blocked b WHERE b.key = l.key AND b.room = l.room AND b.queue_name = l.queue_name
       ORDER BY b.claim_key, b.result_id LIMIT l.places FOR UPDATE SKIP LOCKED
    ) AS best
  ), short AS (
    SELECT key FROM (
      SELECT l.*, (SELECT count(*) FROM (SELECT FROM reproq_blocked b WHERE b.key = l.key AND b.room = l.room AND b.queue_name = l.queue_name LIMIT l.places) AS waiting) AS count FROM line l
      UNION ALL SELECT key, room, queue_name, NULL, -1 FROM head
    ) AS missing GROUP BY key, room, queue_name HAVING sum(count) > 0
  ), moved AS (
    DELETE FROM reproq_blocked WHERE ctid = ANY (ARRAY(SELECT place FROM head)) RETURNING result_id, key, queue_name, claim_key
  ), ready AS (
    INSERT INTO reproq_ready (queue_name, claim_key, result_id, gated)
    SELECT m.queue_name, m.claim_key, m.result_id, reproq_is_gated(t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.expires_at)
      -- OFFSET 0, here and below: from the entries to their runs, also in a plan that was made when task_runs was empty.
      FROM moved m CROSS JOIN LATERAL (SELECT * FROM task_runs WHERE task_runs.result_id = m.result_id OFFSET 0) AS t WHERE t.status = 'READY'
    ON CONFLICT DO NOTHING
    RETURNING queue_name
  ), again AS (
    -- A run that ended meanwhile left its entry behind, and with it the room.
    INSERT INTO reproq_freed (key)
    SELECT DISTINCT m.key FROM moved m WHERE NOT EXISTS (SELECT FROM task_runs t WHERE t.result_id = m.result_id AND t.status = 'READY' OFFSET 0)
  ), later AS (
    INSERT INTO reproq_refills (key, due_at)
    SELECT key, min(due_at) FROM (
      SELECT key, CASE WHEN tokens = 'infinity' THEN clock_timestamp() ELSE clock_timestamp() + (floor(tokens) + 1 - tokens) / rate * interval '1 s' END AS due_at
        FROM bucket WHERE tokens < 1 OR EXISTS (SELECT FROM head WHERE head.key = bucket.key)
      -- Who takes back what he did to a run tells nobody.
      UNION ALL SELECT key, clock_timestamp() + interval '100 ms' FROM short
    ) AS either GROUP BY key
    ON CONFLICT (key) DO UPDATE SET due_at = excluded.due_at
  )
  SELECT coalesce(array_agg(DISTINCT queue_name), '{}') INTO woken FROM ready;
  RETURN woken;
END $$;

CREATE FUNCTION reproq_next_refill_ms() RETURNS float8 LANGUAGE sql VOLATILE
  RETURN (SELECT (extract(epoch FROM due_at - clock_timestamp()) * 1000)::float8 FROM reproq_refills ORDER BY due_at LIMIT 1);

-- Lets through what has room, if anything may have. Returns the queues that have got something, whether there may be more, and ms
-- until a bucket that runs wait for has its next token (null: none does).
CREATE FUNCTION reproq_unblock(most integer, OUT queues text[], OUT more boolean, OUT next_ms float8) LANGUAGE plpgsql AS $$
BEGIN
  queues := '{}';
  IF EXISTS (SELECT FROM reproq_freed) OR EXISTS (SELECT FROM reproq_refills WHERE due_at <= clock_timestamp()) THEN
    PERFORM reproq_enter_gate();
    queues := reproq_let_through(most);
  END IF;
  more := EXISTS (SELECT FROM reproq_freed);
  next_ms := reproq_next_refill_ms();
END $$;

-- What runs and waits already.
UPDATE reproq_ready r SET gated = true FROM task_runs t
 WHERE t.result_id = r.result_id AND reproq_is_gated(t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.expires_at);
INSERT INTO reproq_holds (result_id, key)
  SELECT result_id, unnest(reproq_keys(lock_key, concurrency_key, concurrency_limit)) FROM task_runs
   WHERE status = 'RUNNING' AND (lock_key IS NOT NULL OR concurrency_key IS NOT NULL);
