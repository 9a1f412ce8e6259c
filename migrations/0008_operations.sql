-- What people do to many runs at once: retry, replay, cancel and delete by filter, with progress that outlives a broker; and the
-- pruning of old runs.
--
-- Functions, because each of these must go on past a run that the database refuses (a twin is active, somebody's foreign key):
-- only plpgsql can take back half a statement. They run as a foreign writer does, with the triggers, so they know nothing of
-- the narrow tables.

-- To READY, from the first attempt on, as Reproq's triage retry does it. What it has been through stays: errors, workers, logs.
CREATE FUNCTION reproq_requeue(runs bigint[]) RETURNS void LANGUAGE sql SET reproq.internal TO 'off' AS $$
  UPDATE task_runs
     SET status = 'READY', run_after = now(), attempts = 0, started_at = NULL, last_attempted_at = NULL, finished_at = NULL, return_json = NULL,
         last_error = NULL, failed_at = NULL, leased_until = NULL, leased_by = NULL, cancel_requested = false,
         -- Whoever retries what has expired wants it to run.
         expires_at = CASE WHEN expires_at > now() THEN expires_at END, updated_at = now()
   WHERE result_id = ANY (runs)
$$;

-- Takes a hash that runs which asked to be the only one share (reproq_unique), if there is such an entry and its run is over.
-- Returns who has it: null when nobody ever asked. Only a holder that is seen to be over loses it, as in reproq_enqueue.
CREATE FUNCTION reproq_claim_hash(digest text, run bigint) RETURNS bigint LANGUAGE sql AS $$
  UPDATE reproq_unique u
     SET result_id = CASE WHEN reproq_is_over(u.result_id) THEN run ELSE u.result_id END
   WHERE u.spec_hash = rtrim(digest) RETURNING u.result_id
$$;

-- The run that keeps another of its hash back.
CREATE FUNCTION reproq_twin_of(digest text, run bigint) RETURNS bigint LANGUAGE sql AS $$
  SELECT coalesce(reproq_active_twin(rtrim(digest)), (SELECT u.result_id FROM reproq_unique u WHERE u.spec_hash = rtrim(digest) AND u.result_id <> run))
$$;

-- retried, duplicate (an active twin keeps it back), or refused: somebody's trigger or constraint forbids it.
CREATE FUNCTION reproq_retry_one(run bigint, OUT outcome text, OUT error text) LANGUAGE plpgsql AS $$
DECLARE
  digest text := (SELECT rtrim(spec_hash) FROM task_runs WHERE result_id = run);
BEGIN
  IF reproq_active_twin(digest) IS NOT NULL OR reproq_claim_hash(digest, run) <> run THEN
    outcome := 'duplicate';
    RETURN;
  END IF;
  PERFORM reproq_requeue(ARRAY[run]);
  outcome := 'retried';
EXCEPTION
  WHEN unique_violation THEN
    outcome := 'duplicate';
  WHEN OTHERS THEN
    IF reproq_is_transient(SQLSTATE) THEN
      RAISE;
    END IF;
    outcome := 'refused';
    error := SQLERRM;
END $$;

-- FAILED or CANCELLED → READY. Of each run that exists: retried, duplicate (other: the active run of the same hash), refused
-- (error: by what), already_successful, or not_final.
CREATE FUNCTION reproq_retry(runs bigint[]) RETURNS TABLE (run bigint, outcome text, other bigint, error text) LANGUAGE plpgsql AS $$
DECLARE
  known bigint[];
  dead bigint[];
  alone bigint[];
  -- {run: {outcome, error}} of those that are done one by one.
  told jsonb := '{}';
BEGIN
  -- Locked in one order everywhere, and beside what stores output, which locks only the key.
  SELECT coalesce(array_agg(t.result_id), '{}'), coalesce(array_agg(t.result_id) FILTER (WHERE t.status IN ('FAILED', 'CANCELLED')), '{}') INTO known, dead
    FROM (SELECT result_id, status FROM task_runs WHERE result_id = ANY (runs) ORDER BY result_id FOR NO KEY UPDATE) t;
  SELECT coalesce(array_agg(t.result_id ORDER BY t.result_id), '{}') INTO alone
    FROM task_runs t JOIN reproq_unique u ON u.spec_hash = rtrim(t.spec_hash) WHERE t.result_id = ANY (dead);
  BEGIN
    PERFORM reproq_requeue(ARRAY(SELECT unnest(dead) EXCEPT SELECT unnest(alone)));
  EXCEPTION WHEN OTHERS THEN
    IF reproq_is_transient(SQLSTATE) THEN
      RAISE;
    END IF;
    -- One of them is some active run's twin, or cannot be; each alone shows which.
    alone := dead;
  END;
  FOREACH run IN ARRAY alone LOOP
    told := told || jsonb_build_object(run, to_jsonb(reproq_retry_one(run)));
  END LOOP;
  RETURN QUERY
    SELECT t.result_id, o.outcome, CASE WHEN o.outcome = 'duplicate' THEN reproq_twin_of(t.spec_hash, t.result_id) END, told->t.result_id::text->>'error'
      FROM task_runs t
     CROSS JOIN LATERAL (SELECT coalesce(told->t.result_id::text->>'outcome', CASE WHEN t.result_id = ANY (dead) THEN 'retried' WHEN t.status = 'SUCCESSFUL' THEN 'already_successful' ELSE 'not_final' END) AS outcome) o
     WHERE t.result_id = ANY (known) ORDER BY t.result_id;
END $$;

-- The spec of a replay, which stands alone: where it is one of a run that waited for others in a workflow, it says to whoever asks
-- for those why they are not there (an executor raises parents_error). A replay of that replay says so still.
CREATE FUNCTION reproq_spec_alone(old task_runs) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN old.workflow_id IS NOT NULL AND EXISTS (SELECT FROM reproq_dependencies d WHERE d.child_id = old.result_id)
    THEN old.spec_json || jsonb_build_object('parents_error', format('It is a replay of run %s, which waited for others in a workflow; a replay stands alone, without what those returned', old.result_id))
    ELSE old.spec_json END
$$;

-- A new run like each old one that is over. Its hash is copied: one made from spec_json would be another (jsonb keeps no 1.0).
-- Of each run that exists: replayed (other: the new run), duplicate (other: the active run of the same hash), refused (error: by
-- what), or not_final.
CREATE FUNCTION reproq_replay(runs bigint[]) RETURNS TABLE (run bigint, outcome text, other bigint, error text) LANGUAGE plpgsql SET reproq.internal TO 'off' AS $$
DECLARE
  old task_runs;
  fresh bigint;
BEGIN
  FOR old IN SELECT * FROM task_runs t WHERE t.result_id = ANY (runs) ORDER BY t.result_id LOOP
    run := old.result_id;
    outcome := 'not_final';
    other := NULL;
    error := NULL;
    IF old.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') THEN
      fresh := nextval(pg_get_serial_sequence('task_runs', 'result_id')::regclass);
      outcome := 'duplicate';
      -- What is refused takes the claim of the hash back with it.
      BEGIN
        IF reproq_active_twin(rtrim(old.spec_hash)) IS NULL AND coalesce(reproq_claim_hash(old.spec_hash, fresh), fresh) = fresh THEN
          INSERT INTO task_runs (result_id, backend_alias, queue_name, priority, spec_json, spec_hash, task_path, max_attempts, timeout_seconds,
                                 lock_key, concurrency_key, concurrency_limit, reproq_rate_key, reproq_rate_per_second, reproq_rate_burst, reproq_fair_key, reproq_retry, expires_at)
          VALUES (fresh, old.backend_alias, old.queue_name, old.priority, reproq_spec_alone(old), old.spec_hash, old.task_path, old.max_attempts, old.timeout_seconds,
                  old.lock_key, old.concurrency_key, old.concurrency_limit, old.reproq_rate_key, old.reproq_rate_per_second, old.reproq_rate_burst, old.reproq_fair_key, old.reproq_retry, now() + (old.expires_at - old.enqueued_at));
          outcome := 'replayed';
          other := fresh;
        END IF;
      EXCEPTION
        WHEN unique_violation THEN
          NULL;
        WHEN OTHERS THEN
          IF reproq_is_transient(SQLSTATE) THEN
            RAISE;
          END IF;
          outcome := 'refused';
          error := SQLERRM;
      END;
      IF outcome = 'duplicate' THEN
        other := reproq_twin_of(old.spec_hash, old.result_id);
      END IF;
    END IF;
    RETURN NEXT;
  END LOOP;
END $$;

-- As cancel.sql, for many: what waits is CANCELLED, what runs is asked to stop. Returns how many it was news to.
CREATE FUNCTION reproq_cancel_all(runs bigint[]) RETURNS integer LANGUAGE plpgsql SET reproq.internal TO 'off' AS $$
DECLARE
  waiting integer;
  running integer;
BEGIN
  PERFORM FROM task_runs WHERE result_id = ANY (runs) ORDER BY result_id FOR NO KEY UPDATE;
  -- Without the flag, which would be told to every broker, run by run.
  UPDATE task_runs SET status = 'CANCELLED', finished_at = now(), updated_at = now() WHERE result_id = ANY (runs) AND status IN ('WAITING', 'READY');
  GET DIAGNOSTICS waiting = ROW_COUNT;
  UPDATE task_runs SET cancel_requested = true, updated_at = now() WHERE result_id = ANY (runs) AND status = 'RUNNING' AND NOT cancel_requested;
  GET DIAGNOSTICS running = ROW_COUNT;
  RETURN waiting + running;
END $$;

-- The same, past those that are refused: [{run, outcome, other, error}].
CREATE FUNCTION reproq_cancel_many(runs bigint[], OUT changed integer, OUT refused jsonb) LANGUAGE plpgsql AS $$
DECLARE
  one bigint;
BEGIN
  refused := '[]';
  changed := reproq_cancel_all(runs);
EXCEPTION WHEN OTHERS THEN
  IF reproq_is_transient(SQLSTATE) THEN
    RAISE;
  END IF;
  changed := 0;
  FOREACH one IN ARRAY runs LOOP
    BEGIN
      changed := changed + reproq_cancel_all(ARRAY[one]);
    EXCEPTION WHEN OTHERS THEN
      IF reproq_is_transient(SQLSTATE) THEN
        RAISE;
      END IF;
      refused := refused || jsonb_build_object('run', one, 'outcome', 'refused', 'other', NULL, 'error', SQLERRM);
    END;
  END LOOP;
END $$;

-- Deletes those of the runs that are over and that nothing alive needs: no child that waits, no workflow that goes on. One that
-- somebody else's table refers to, or somebody's trigger keeps, stays. Returns what is gone.
CREATE FUNCTION reproq_delete_runs(runs bigint[]) RETURNS bigint[] LANGUAGE plpgsql SET reproq.internal TO 'off' AS $$
DECLARE
  doomed bigint[];
  unfinished uuid[];
  gone bigint[] := '{}';
  one bigint;
BEGIN
  -- Locked first, and looked at in a statement of its own: no child can come in between.
  SELECT coalesce(array_agg(t.result_id), '{}') INTO doomed
    FROM (SELECT result_id FROM task_runs WHERE result_id = ANY (runs) AND status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')
           ORDER BY result_id FOR UPDATE SKIP LOCKED) t;
  -- Each workflow once, not once for each of its runs.
  unfinished := ARRAY(
    SELECT w.workflow_id FROM (SELECT DISTINCT t.workflow_id FROM task_runs t WHERE t.result_id = ANY (doomed) AND t.workflow_id IS NOT NULL) w
     CROSS JOIN LATERAL (SELECT FROM task_runs m WHERE m.workflow_id = w.workflow_id AND m.status IN ('WAITING', 'READY', 'RUNNING') LIMIT 1) m);
  SELECT coalesce(array_agg(t.result_id), '{}') INTO doomed
    FROM task_runs t
   WHERE t.result_id = ANY (doomed)
     AND NOT EXISTS (SELECT FROM task_runs c WHERE c.parent_id = t.result_id AND c.status IN ('WAITING', 'READY', 'RUNNING'))
     AND (t.workflow_id IS NULL OR t.workflow_id <> ALL (unfinished));
  -- A deferred foreign key (Django's) would object at the commit, where nobody can step aside.
  SET CONSTRAINTS ALL IMMEDIATE;
  BEGIN
    UPDATE task_runs SET parent_id = NULL WHERE parent_id = ANY (doomed);
    DELETE FROM task_runs WHERE result_id = ANY (doomed);
    RETURN doomed;
  EXCEPTION WHEN OTHERS THEN
    IF reproq_is_transient(SQLSTATE) THEN
      RAISE;
    END IF;
    FOREACH one IN ARRAY doomed LOOP
      BEGIN
        UPDATE task_runs SET parent_id = NULL WHERE parent_id = one;
        DELETE FROM task_runs WHERE result_id = one;
        gone := gone || one;
      EXCEPTION WHEN OTHERS THEN
        IF reproq_is_transient(SQLSTATE) THEN
          RAISE;
        END IF;
      END;
    END LOOP;
    RETURN gone;
  END;
END $$;

-- Work on all runs that a filter matches, done in steps. cursor_id: the last run looked at. last_id: runs made later are not meant.
CREATE TABLE reproq_operations (
  operation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  action       text NOT NULL CHECK (action IN ('retry', 'cancel', 'replay', 'delete')),
  filter       jsonb NOT NULL,
  status       text NOT NULL DEFAULT 'RUNNING' CHECK (status IN ('RUNNING', 'DONE', 'STOPPED', 'FAILED')),
  -- Why it FAILED.
  error        text,
  requested_by text,
  first_id     bigint NOT NULL,
  cursor_id    bigint NOT NULL,
  last_id      bigint NOT NULL,
  matched      bigint NOT NULL DEFAULT 0,
  changed      bigint NOT NULL DEFAULT 0,
  -- Of those that matched and did not change, the first hundred: [{run, outcome, other, error}].
  unchanged    jsonb NOT NULL DEFAULT '[]',
  created_at   timestamptz NOT NULL DEFAULT now(),
  updated_at   timestamptz NOT NULL DEFAULT now(),
  finished_at  timestamptz
);

-- Whether a run is meant by a filter: {statuses: […], queue, task, enqueued_before, enqueued_after, finished_before, finished_after, error}.
CREATE FUNCTION reproq_matches(filter jsonb, status text, queue_name text, task_path text, enqueued_at timestamptz, finished_at timestamptz, last_error text)
  RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
  RETURN (filter->'statuses') ? status
     AND (filter->>'queue' IS NULL OR queue_name = filter->>'queue')
     AND (filter->>'task' IS NULL OR task_path = filter->>'task')
     AND (filter->>'enqueued_before' IS NULL OR enqueued_at < (filter->>'enqueued_before')::timestamptz)
     AND (filter->>'enqueued_after' IS NULL OR enqueued_at >= (filter->>'enqueued_after')::timestamptz)
     AND (filter->>'finished_before' IS NULL OR coalesce(finished_at < (filter->>'finished_before')::timestamptz, false))
     AND (filter->>'finished_after' IS NULL OR coalesce(finished_at >= (filter->>'finished_after')::timestamptz, false))
     AND (filter->>'error' IS NULL OR strpos(lower(coalesce(last_error, '')), lower(filter->>'error')) > 0);

-- The next step of an operation: looks at most at `page` runs and changes at most `batch`. The step and what is known of it are
-- one transaction: a broker that dies in it has done nothing, and whoever comes next goes on from there. A step that the database
-- would refuse again and again ends it as FAILED. Returns the status after it; null when there is nothing to do, or another broker is at it.
CREATE FUNCTION reproq_operation_step(operation bigint, page integer, batch integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  op reproq_operations;
  ids bigint[];
  upto bigint;
  is_end boolean;
  done integer := 0;
  rest jsonb := '[]';
  result text;
BEGIN
  -- Not the row: that would keep whoever wants to stop it waiting.
  IF NOT pg_try_advisory_xact_lock(hashtext('reproq_operations'), operation::integer) THEN
    RETURN NULL;
  END IF;
  SELECT * INTO op FROM reproq_operations WHERE operation_id = operation AND status = 'RUNNING';
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  BEGIN
    WITH looked AS MATERIALIZED (
      SELECT t.result_id, reproq_matches(op.filter, t.status, t.queue_name, t.task_path, t.enqueued_at, t.finished_at, t.last_error) AS is_meant
        FROM task_runs t WHERE t.result_id > op.cursor_id AND t.result_id <= op.last_id ORDER BY t.result_id LIMIT page
    ), meant AS (
      SELECT result_id FROM looked WHERE is_meant ORDER BY result_id LIMIT batch
    )
    SELECT array(SELECT result_id FROM meant),
           CASE WHEN (SELECT count(*) FROM meant) = batch THEN (SELECT max(result_id) FROM meant) ELSE (SELECT max(result_id) FROM looked) END,
           (SELECT count(*) FROM meant) < batch AND (SELECT count(*) FROM looked) < page
      INTO ids, upto, is_end;
    IF op.action = 'cancel' THEN
      SELECT c.changed, c.refused INTO done, rest FROM reproq_cancel_many(ids) c;
    ELSIF op.action = 'delete' THEN
      done := cardinality(reproq_delete_runs(ids));
    ELSIF op.action = 'retry' THEN
      SELECT count(*) FILTER (WHERE r.outcome = 'retried'), coalesce(jsonb_agg(to_jsonb(r)) FILTER (WHERE r.outcome <> 'retried'), '[]') INTO done, rest FROM reproq_retry(ids) r;
    ELSE
      SELECT count(*) FILTER (WHERE r.outcome = 'replayed'), coalesce(jsonb_agg(to_jsonb(r)) FILTER (WHERE r.outcome <> 'replayed'), '[]') INTO done, rest FROM reproq_replay(ids) r;
    END IF;
    UPDATE reproq_operations o
       SET cursor_id = coalesce(upto, o.last_id), matched = o.matched + cardinality(ids), changed = o.changed + done, updated_at = now(),
           unchanged = CASE WHEN jsonb_array_length(o.unchanged) < 100 THEN jsonb_path_query_array(o.unchanged || rest, '$[0 to 99]') ELSE o.unchanged END,
           status = CASE WHEN o.status = 'RUNNING' AND is_end THEN 'DONE' ELSE o.status END,
           finished_at = CASE WHEN o.status = 'RUNNING' AND is_end THEN now() ELSE o.finished_at END
     WHERE o.operation_id = operation RETURNING o.status INTO result;
  EXCEPTION WHEN OTHERS THEN
    IF reproq_is_transient(SQLSTATE) THEN
      RAISE;
    END IF;
    UPDATE reproq_operations o SET status = 'FAILED', error = SQLERRM, finished_at = now(), updated_at = now()
     WHERE o.operation_id = operation AND o.status = 'RUNNING' RETURNING o.status INTO result;
  END;
  RETURN result;
END $$;

-- Where the pruning is. Ids grow with time, so old runs are found by walking the primary key: `front_id` goes through what has just
-- become old enough, once; `back_id` goes round through what was left behind there (it lived, finished late, or is kept longer).
CREATE TABLE reproq_retention (
  only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  front_id   bigint NOT NULL DEFAULT 0,
  back_id    bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO reproq_retention DEFAULT VALUES;

-- Looks at the next `page` runs after `after_id`, up to `upto_id`, and deletes what `keep` does not keep: {SUCCESSFUL | FAILED | CANCELLED: seconds since
-- the end, EXPIRED: seconds since expires_at}; what is not named is kept. Stops where runs are too young to be due.
-- Returns the last run looked at (null: none), how many it looked at, how many were due, and how many of those are gone.
CREATE FUNCTION reproq_prune_page(after_id bigint, upto_id bigint, page integer, keep jsonb, dry_run boolean,
                                  OUT last_id bigint, OUT looked integer, OUT due integer, OUT deleted integer) LANGUAGE plpgsql AS $$
DECLARE
  ids bigint[];
  young timestamptz := now() - (SELECT min(value::float8) FROM jsonb_each_text(keep)) * interval '1 s';
BEGIN
  WITH walked AS MATERIALIZED (
    SELECT result_id, status, coalesce(finished_at, updated_at) AS over_at, expires_at, created_at
      FROM task_runs WHERE result_id > after_id AND result_id <= upto_id ORDER BY result_id LIMIT page
  ), old AS MATERIALIZED (
    -- Up to the last one that is old enough, not to the first that is not: a clock that was wrong once must not stop it for good.
    SELECT * FROM walked WHERE result_id <= (SELECT max(result_id) FROM walked WHERE created_at <= young)
  )
  SELECT max(result_id), count(*), coalesce(array_agg(result_id) FILTER (
           WHERE status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')
             AND (over_at <= now() - (keep->>status)::float8 * interval '1 s' OR expires_at <= now() - (keep->>'EXPIRED')::float8 * interval '1 s')), '{}')
    INTO last_id, looked, ids FROM old;
  due := cardinality(ids);
  deleted := CASE WHEN dry_run OR due = 0 THEN 0 ELSE cardinality(reproq_delete_runs(ids)) END;
END $$;

-- The next step of the pruning by the clock. Returns how many are gone, and whether another step is worth it now; null: another broker is at it.
CREATE FUNCTION reproq_prune_step(keep jsonb, page integer, OUT deleted integer, OUT again boolean) LANGUAGE plpgsql AS $$
DECLARE
  at reproq_retention;
  front record;
  back record;
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtext('reproq_retention'), 0) THEN
    RETURN;
  END IF;
  SELECT * INTO at FROM reproq_retention;
  SELECT * INTO front FROM reproq_prune_page(at.front_id, 9223372036854775807, page, keep, false);
  deleted := front.deleted;
  again := front.looked = page;
  IF NOT again THEN
    SELECT * INTO back FROM reproq_prune_page(at.back_id, at.front_id, page, keep, false);
    deleted := deleted + back.deleted;
    -- As long as there is something to find it goes on; else it looks at a page now and then.
    again := back.looked = page AND back.deleted * 50 > page;
    at.back_id := CASE WHEN back.looked < page THEN 0 ELSE back.last_id END;
  END IF;
  UPDATE reproq_retention SET front_id = coalesce(front.last_id, at.front_id), back_id = at.back_id, updated_at = now();
END $$;
