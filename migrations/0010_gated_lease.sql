-- The gated lease: which of the runs that must be asked for may start. Tables and what it calls are in 0005.

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
      SELECT t.task_path, t.queue_name, t.lock_key, t.concurrency_key, t.concurrency_limit, t.reproq_rate_key, t.reproq_rate_per_second, t.reproq_rate_burst, t.expires_at INTO it
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
            IF NOT FOUND THEN
              IF EXISTS (SELECT FROM rate_limits b WHERE b.key = name) THEN
                stock := 0;
              ELSIF starts_with(name, 'key:') AND it.reproq_rate_burst > 0 THEN
                stock := reproq_renew_bucket(name, it.reproq_rate_per_second, it.reproq_rate_burst);
                flow := it.reproq_rate_per_second;
              END IF;
              IF stock = 0 THEN
                -- Somebody is changing the limit: only what it applies to waits, and asks again in a tenth of a second.
                flow := 10;
              END IF;
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
    FROM unnest(buckets, tokens, charges) AS b (name, tokens, charge) WHERE l.key = ANY (buckets) AND l.key = b.name AND b.charge > 0 AND b.tokens < 'infinity';
  INSERT INTO reproq_freed (key)
    SELECT DISTINCT p.key FROM unnest(passed) AS p (key) WHERE EXISTS (SELECT FROM reproq_blocked b WHERE b.key = p.key);
  SELECT coalesce(jsonb_agg(jsonb_build_object('run', result_id::text, 'queue', queue_name, 'task', task_path)), '[]') INTO expired FROM reproq_end_expired(too_late);
  freed := EXISTS (SELECT FROM reproq_freed);
  "nextMs" := reproq_next_refill_ms();

  RETURN QUERY
    WITH leased AS (
      UPDATE task_runs t
         SET status = 'RUNNING', started_at = coalesce(t.started_at, now()), last_attempted_at = now(), attempts = t.attempts + 1,
             leased_until = now() + lease_ms * interval '1 ms', leased_by = workers[places[n.slot]],
             worker_ids = t.worker_ids || to_jsonb(workers[places[n.slot]]), reproq_lease_id = leases[n.slot], updated_at = now()
        FROM unnest(let_in) WITH ORDINALITY AS n (result_id, slot)
       WHERE t.result_id = ANY (let_in) AND t.result_id = n.result_id AND t.status = 'READY'
      RETURNING n.slot, t.*
    ), held AS (
      INSERT INTO reproq_leases (result_id, session_id) SELECT result_id, sessions[places[slot]] FROM leased
      ON CONFLICT (result_id) DO UPDATE SET session_id = excluded.session_id, run_until = NULL
    )
    SELECT gated, more, skipped, freed, "nextMs", woken, expired, l.slot::integer - 1, l.result_id::text, l.reproq_lease_id::text, l.task_path, l.queue_name, l.attempts,
           l.max_attempts, l.timeout_seconds * 1000.0::float8, l.spec_json::text, l.cancel_requested, l.reproq_retry::text
      FROM (VALUES (1)) AS always LEFT JOIN leased l ON true ORDER BY l.slot;
END $$;
