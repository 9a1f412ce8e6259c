-- Gates: locks, concurrency limits and rate limits decide which ready run may start.
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
CREATE INDEX reproq_blocked_in_queue ON reproq_blocked (queue_name, claim_key, result_id);

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
  IF TG_OP <> 'INSERT' OR NOT starts_with(changed, 'key:') THEN
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
      FROM moved m JOIN task_runs t USING (result_id) WHERE t.status = 'READY'
    ON CONFLICT DO NOTHING
    RETURNING queue_name
  ), again AS (
    -- A run that ended meanwhile left its entry behind, and with it the room.
    INSERT INTO reproq_freed (key)
    SELECT DISTINCT m.key FROM moved m WHERE NOT EXISTS (SELECT FROM task_runs t WHERE t.result_id = m.result_id AND t.status = 'READY')
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

-- READY → RUNNING under the gate, one by one, the queues taking turns, past those that must wait: what lease.sql does, where
-- it must not. Parameters as there, and `most`: entries looked at beyond the free slots. A function, because each of its
-- statements has a snapshot of its own: one statement that takes the lock and counts would count what it saw before it waited.
-- Every row returned says: gated (it met what only this function may lease), more (there may be more: call again), skipped (runs passed
-- over because somebody holds them locked, about ten times `most` at most), freed (keys have got room in passing), nextMs (until a rate
-- has its next token), woken (queues that have got ready runs), expired (runs that came too late and are over: run, queue, task).
CREATE FUNCTION reproq_lease_gated(queues text[], places integer[], sessions bigint[], workers text[], leases uuid[], lease_ms float8, most integer)
RETURNS TABLE (gated boolean, more boolean, skipped integer, freed boolean, "nextMs" float8, woken text[], expired jsonb, slot integer, run text, lease text, task text,
               queue text, attempt integer, "maxAttempts" integer, "timeoutMs" float8, spec text, "cancelRequested" boolean, retry text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  slots CONSTANT integer := cardinality(places);
  entry record;
  it record;
  limited boolean;                -- some limit of Reproq's may apply: every run has to be asked
  after_keys bigint[] := array_fill(-9223372036854775808, ARRAY[cardinality(queues)]); after_ids bigint[] := after_keys;   -- how far each queue was walked
  chunk integer := slots;
  seen integer;
  seen_all integer := 0;
  done tid[] := '{}';             -- entries that leave reproq_ready
  let_in bigint[] := '{}'; too_late bigint[] := '{}';
  blocked_ids bigint[] := '{}'; blocked_keys text[] := '{}'; blocked_rooms integer[] := '{}'; blocked_queues text[] := '{}'; blocked_claims bigint[] := '{}';
  passed text[] := '{}';          -- keys that a blocked run leaves to others
  counted text[] := '{}'; counts integer[] := '{}';   -- of keys with room for many, not to be counted again for each
  buckets text[] := '{}'; tokens float8[] := '{}'; rates float8[] := '{}'; charges integer[] := '{}';
  bucket_names text[];
  keys text[];
  name text; blocker text;
  room integer; held integer; spot integer;
  stock float8; flow float8;
BEGIN
  PERFORM reproq_enter_gate();
  -- First those that were there before: a newcomer must not take the room that has just been left to them.
  woken := reproq_let_through(most);
  limited := EXISTS (SELECT FROM rate_limits l WHERE l.tokens_per_second > 0 AND l.burst_size > 0 AND NOT starts_with(l.key, 'key:')
                       AND (l.key = 'global' OR starts_with(l.key, 'task:') OR substr(l.key, 7) = ANY (queues)));
  gated := limited;
  skipped := 0;

  LOOP
    seen := 0;
    FOR entry IN
      SELECT lane.turn, head.* FROM unnest(queues, after_keys, after_ids) WITH ORDINALITY AS lane (queue_name, after_key, after_id, turn) CROSS JOIN LATERAL (
        SELECT r.ctid AS place, r.queue_name, r.claim_key, r.result_id, r.gated FROM reproq_ready r
         WHERE r.queue_name = lane.queue_name AND (r.claim_key, r.result_id) > (lane.after_key, lane.after_id)
         ORDER BY r.claim_key, r.result_id LIMIT chunk FOR UPDATE SKIP LOCKED
      ) AS head
       WHERE NOT EXISTS (SELECT FROM reproq_queue_controls c WHERE c.queue_name = lane.queue_name AND (c.paused OR c.reproq_held_until > clock_timestamp()))
       -- Queues take turns, each with its best run.
       ORDER BY row_number() OVER (PARTITION BY lane.turn ORDER BY head.claim_key, head.result_id), lane.turn LIMIT chunk
    LOOP
      EXIT WHEN cardinality(let_in) = slots;
      seen := seen + 1;
      after_keys[entry.turn] := entry.claim_key;
      after_ids[entry.turn] := entry.result_id;
      gated := gated OR entry.gated;
      SELECT t.task_path, t.queue_name, t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.expires_at INTO it
        FROM task_runs t WHERE t.result_id = entry.result_id AND t.status = 'READY' FOR NO KEY UPDATE SKIP LOCKED;
      IF NOT FOUND THEN
        -- Somebody is changing it; or it is not ready any more, and its entry was left behind.
        PERFORM FROM task_runs t WHERE t.result_id = entry.result_id AND t.status = 'READY';
        skipped := skipped + FOUND::integer;
        CONTINUE WHEN FOUND;
        done := done || entry.place;
        CONTINUE;
      END IF;
      IF NOT entry.gated AND NOT limited THEN
        done := done || entry.place;
        let_in := let_in || entry.result_id;
        CONTINUE;
      END IF;
      IF it.expires_at <= clock_timestamp() THEN
        done := done || entry.place;
        too_late := too_late || entry.result_id;
        CONTINUE;
      END IF;

      keys := reproq_keys(it.lock_key, it.concurrency_key, it.concurrency_limit);
      blocker := NULL;
      FOREACH name IN ARRAY keys LOOP
        room := CASE WHEN starts_with(name, 'lock:') THEN 1 ELSE it.concurrency_limit END;
        spot := CASE WHEN room > 20 THEN array_position(counted, name) END;
        IF spot IS NOT NULL THEN
          held := counts[spot];
        ELSE
          SELECT count(*) INTO held FROM (SELECT FROM reproq_holds h WHERE h.key = name LIMIT room) AS up_to_room;
        END IF;
        IF held >= room THEN
          blocker := name;
          EXIT;
        END IF;
      END LOOP;

      bucket_names := array_remove(ARRAY[CASE WHEN limited THEN reproq_bucket_of(it.task_path, it.queue_name) END, 'key:' || it.reproq_rate_key], NULL);
      IF blocker IS NULL THEN
        FOREACH name IN ARRAY bucket_names LOOP
          spot := array_position(buckets, name);
          IF spot IS NULL THEN
            spot := cardinality(buckets) + 1;
            SELECT reproq_tokens(b), b.tokens_per_second INTO stock, flow FROM rate_limits b WHERE b.key = name FOR UPDATE SKIP LOCKED;
            IF NOT FOUND AND EXISTS (SELECT FROM rate_limits b WHERE b.key = name) THEN
              -- Somebody is changing the limit: only what it applies to waits, and asks again in a tenth of a second.
              stock := 0; flow := 10;
            END IF;
            buckets[spot] := name; tokens[spot] := coalesce(stock, 'infinity'); rates[spot] := coalesce(flow, 0); charges[spot] := 0;
          END IF;
          IF tokens[spot] < 1 THEN
            blocker := 'rate:' || name;
            room := 0;
            EXIT;
          END IF;
        END LOOP;
      END IF;

      done := done || entry.place;
      IF blocker IS NOT NULL THEN
        blocked_ids := blocked_ids || entry.result_id; blocked_keys := blocked_keys || blocker; blocked_rooms := blocked_rooms || room;
        blocked_queues := blocked_queues || it.queue_name; blocked_claims := blocked_claims || entry.claim_key;
        -- It may have been let through by another of its keys, whose room is somebody else's now.
        passed := passed || array_remove(keys, blocker);
        CONTINUE;
      END IF;
      let_in := let_in || entry.result_id;
      FOREACH name IN ARRAY bucket_names LOOP
        spot := array_position(buckets, name);
        tokens[spot] := tokens[spot] - 1;
        charges[spot] := charges[spot] + 1;
      END LOOP;
      FOREACH name IN ARRAY keys LOOP
        INSERT INTO reproq_holds (result_id, key) VALUES (entry.result_id, name) ON CONFLICT DO NOTHING;
        spot := array_position(counted, name);
        IF spot IS NOT NULL THEN
          counts[spot] := counts[spot] + 1;
        ELSIF it.concurrency_limit > 20 AND NOT starts_with(name, 'lock:') THEN
          counted := counted || name;
          counts := counts || held + 1;
        END IF;
      END LOOP;
    END LOOP;
    seen_all := seen_all + seen;
    -- Entries of runs that are held stay where they are: counted with the others, they would keep all behind them from ever being reached.
    more := cardinality(let_in) = slots OR seen_all - skipped >= slots + most;
    EXIT WHEN more OR seen < chunk OR skipped >= 10 * most;
    chunk := least(2 * chunk + 50, slots + most - seen_all + skipped);
  END LOOP;

  DELETE FROM reproq_ready WHERE ctid = ANY (done);
  INSERT INTO reproq_blocked (result_id, key, room, queue_name, claim_key)
    SELECT * FROM unnest(blocked_ids, blocked_keys, blocked_rooms, blocked_queues, blocked_claims) ON CONFLICT DO NOTHING;
  INSERT INTO reproq_refills (key, due_at)
    SELECT DISTINCT 'rate:' || b.name, clock_timestamp() + (1 - b.tokens) / b.rate * interval '1 s'
      FROM unnest(buckets, tokens, rates) AS b (name, tokens, rate) WHERE 'rate:' || b.name = ANY (blocked_keys)
    ON CONFLICT DO NOTHING;
  UPDATE rate_limits l SET current_tokens = b.tokens, last_refilled_at = clock_timestamp()
    FROM unnest(buckets, tokens, charges) AS b (name, tokens, charge) WHERE l.key = b.name AND b.charge > 0 AND b.tokens < 'infinity';
  INSERT INTO reproq_freed (key)
    SELECT DISTINCT p.key FROM unnest(passed) AS p (key) WHERE EXISTS (SELECT FROM reproq_blocked b WHERE b.key = p.key);
  WITH ended AS (
    UPDATE task_runs t
       SET status = 'CANCELLED', finished_at = now(), updated_at = now(), last_error = 'expired: ' || reproq_expiry_text(t.expires_at),
           errors_json = t.errors_json || jsonb_build_object('kind', 'expired', 'message', reproq_expiry_text(t.expires_at), 'at', now())
     WHERE t.result_id = ANY (too_late) RETURNING t.result_id, t.queue_name, t.task_path
  )
  SELECT coalesce(jsonb_agg(jsonb_build_object('run', result_id::text, 'queue', queue_name, 'task', task_path)), '[]') INTO expired FROM ended;
  freed := EXISTS (SELECT FROM reproq_freed);
  "nextMs" := reproq_next_refill_ms();

  RETURN QUERY
    WITH leased AS (
      UPDATE task_runs t
         SET status = 'RUNNING', started_at = coalesce(t.started_at, now()), last_attempted_at = now(), attempts = t.attempts + 1,
             leased_until = now() + lease_ms * interval '1 ms', leased_by = workers[places[n.slot]],
             worker_ids = t.worker_ids || to_jsonb(workers[places[n.slot]]), reproq_lease_id = leases[n.slot], updated_at = now()
        FROM unnest(let_in) WITH ORDINALITY AS n (result_id, slot)
       WHERE t.result_id = n.result_id AND t.status = 'READY'
      RETURNING n.slot, t.*
    ), held AS (
      INSERT INTO reproq_leases (result_id, session_id) SELECT result_id, sessions[places[slot]] FROM leased
      ON CONFLICT (result_id) DO UPDATE SET session_id = excluded.session_id, run_until = NULL
    )
    SELECT gated, more, skipped, freed, "nextMs", woken, expired, l.slot::integer - 1, l.result_id::text, l.reproq_lease_id::text, l.task_path, l.queue_name, l.attempts,
           l.max_attempts, l.timeout_seconds * 1000.0::float8, l.spec_json::text, l.cancel_requested, l.reproq_retry::text
      FROM (VALUES (1)) AS always LEFT JOIN leased l ON true ORDER BY l.slot;
END $$;

-- What runs and waits already.
UPDATE reproq_ready r SET gated = true FROM task_runs t
 WHERE t.result_id = r.result_id AND reproq_is_gated(t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.expires_at);
INSERT INTO reproq_holds (result_id, key)
  SELECT result_id, unnest(reproq_keys(lock_key, concurrency_key, concurrency_limit)) FROM task_runs
   WHERE status = 'RUNNING' AND (lock_key IS NOT NULL OR concurrency_key IS NOT NULL);
