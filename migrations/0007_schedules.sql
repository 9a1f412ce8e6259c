-- Schedules: what periodic_tasks has beyond Reproq's columns, the slot rule that keeps several schedulers from firing twice,
-- and the one leader among brokers. pg_cron in the broker's place is in 0011.

-- All null for a row that Django or SQL wrote, and null means what Reproq's beat does: UTC, one run for all missed slots.
ALTER TABLE periodic_tasks
  ADD COLUMN IF NOT EXISTS reproq_time_zone text,
  -- What becomes of slots that nobody fired in time; of those older than the window, nothing. Null: a minute for skip, a day for all.
  ADD COLUMN IF NOT EXISTS reproq_missed text CHECK (reproq_missed IN ('skip', 'last', 'all')),
  ADD COLUMN IF NOT EXISTS reproq_missed_window_ms bigint CHECK (reproq_missed_window_ms BETWEEN 0 AND 315360000000),
  ADD COLUMN IF NOT EXISTS reproq_overlap text CHECK (reproq_overlap IN ('allow', 'skip', 'queue_one')),
  ADD COLUMN IF NOT EXISTS reproq_jitter_ms bigint CHECK (reproq_jitter_ms BETWEEN 0 AND 315360000000),
  ADD COLUMN IF NOT EXISTS reproq_timeout_ms bigint,
  ADD COLUMN IF NOT EXISTS reproq_retry jsonb,
  ADD COLUMN IF NOT EXISTS reproq_lock_key text,
  ADD COLUMN IF NOT EXISTS reproq_fair_key text,
  ADD COLUMN IF NOT EXISTS reproq_expires_ms bigint,
  -- Who keeps the row: null is whoever wrote it. reproq_app tells the code of one program from that of another.
  ADD COLUMN IF NOT EXISTS reproq_source text CHECK (reproq_source IN ('code', 'rest', 'sql', 'django')),
  ADD COLUMN IF NOT EXISTS reproq_app text,
  -- next_run_at no longer is what the expression says: a scheduler works it out anew.
  ADD COLUMN IF NOT EXISTS reproq_replan boolean NOT NULL DEFAULT false,
  -- Slots that made no run, because one was still active.
  ADD COLUMN IF NOT EXISTS reproq_skipped bigint NOT NULL DEFAULT 0,
  -- Why the row cannot be fired as it is. It is left alone until somebody changes it.
  ADD COLUMN IF NOT EXISTS reproq_error text,
  ADD COLUMN IF NOT EXISTS reproq_error_at timestamptz;
CREATE INDEX reproq_periodic_tasks_due ON periodic_tasks (next_run_at) WHERE enabled AND reproq_error IS NULL;
CREATE INDEX reproq_periodic_tasks_replan ON periodic_tasks (name) WHERE reproq_replan;

-- Which run a slot made: the primary key is the promise that it is one. The last 100 of each schedule are kept.
CREATE TABLE reproq_firings (
  name      text NOT NULL,
  slot      timestamptz NOT NULL,
  result_id bigint NOT NULL,
  fired_by  text NOT NULL,
  PRIMARY KEY (name, slot)
);

-- One row: which kind of scheduler this database has, and which broker leads while it is brokers.
CREATE TABLE reproq_scheduler (
  singleton    boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  mode         text NOT NULL DEFAULT 'broker' CHECK (mode IN ('broker', 'pg_cron', 'off')),
  leader_id    text,
  leader_since timestamptz,
  leader_until timestamptz
) WITH (fillfactor = 50);
INSERT INTO reproq_scheduler DEFAULT VALUES;

-- The values of one field of a cron expression, or null when it is no field. Reproq's grammar: robfig/cron v3, and 7 is Sunday.
CREATE FUNCTION reproq_cron_field(field text, low integer, high integer, names text[]) RETURNS integer[] LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  part text;
  parts text[];
  first integer;
  last integer;
  step integer;
  found integer[] := '{}';
BEGIN
  FOREACH part IN ARRAY string_to_array(lower(field), ',') LOOP
    parts := regexp_match(part, '^(?:([*?])|(\d{1,4}|[a-z]{3})(?:-(\d{1,4}|[a-z]{3}))?)(?:/(\d{1,4}))?$');
    IF parts IS NULL THEN
      RETURN NULL;
    END IF;
    first := CASE WHEN parts[2] ~ '^[a-z]' THEN array_position(names, parts[2]) + low - 1 ELSE coalesce(parts[2]::integer, low) END;
    last := CASE WHEN parts[1] IS NOT NULL OR (parts[3] IS NULL AND parts[4] IS NOT NULL) THEN high
                 WHEN parts[3] ~ '^[a-z]' THEN array_position(names, parts[3]) + low - 1 ELSE coalesce(parts[3]::integer, first) END;
    step := coalesce(parts[4]::integer, 1);
    IF first IS NULL OR last IS NULL OR step < 1 OR first < low OR first > last OR last > (CASE WHEN 'sun' = ANY (names) THEN 7 ELSE high END) THEN
      RETURN NULL;
    END IF;
    found := found || ARRAY(SELECT generate_series(first, last, step));
  END LOOP;
  RETURN ARRAY(SELECT DISTINCT CASE WHEN value = 7 AND 'sun' = ANY (names) THEN 0 ELSE value END FROM unnest(found) AS value ORDER BY 1);
END $$;

-- Minutes, hours, days, months and days of the week of a five-field expression in UTC, as pg_cron writes them: an asterisk or
-- numbers. Null for what only a broker can fire: another time zone, seconds, @every, or text that is no expression.
CREATE FUNCTION reproq_cron_plain(expression text, zone text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  text_left text := regexp_replace(btrim(expression), '^(CRON_)?TZ=(UTC|GMT|Etc/UTC)\s+', '');
  fields text[];
  given integer[];
  plain text[] := '{}';
  low integer[] := '{0,0,1,1,0}';
  high integer[] := '{59,23,31,12,6}';
BEGIN
  IF coalesce(zone, 'UTC') NOT IN ('UTC', 'GMT', 'Etc/UTC') THEN
    RETURN NULL;
  END IF;
  text_left := CASE lower(text_left) WHEN '@hourly' THEN '0 * * * *' WHEN '@daily' THEN '0 0 * * *' WHEN '@midnight' THEN '0 0 * * *'
                                     WHEN '@weekly' THEN '0 0 * * 0' WHEN '@monthly' THEN '0 0 1 * *'
                                     WHEN '@yearly' THEN '0 0 1 1 *' WHEN '@annually' THEN '0 0 1 1 *' ELSE text_left END;
  fields := regexp_split_to_array(text_left, '\s+');
  IF cardinality(fields) <> 5 THEN
    RETURN NULL;
  END IF;
  FOR i IN 1..5 LOOP
    given := reproq_cron_field(fields[i], low[i], high[i], CASE i WHEN 4 THEN '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}'::text[] WHEN 5 THEN '{sun,mon,tue,wed,thu,fri,sat}' ELSE '{}' END);
    IF given IS NULL THEN
      RETURN NULL;
    END IF;
    -- An asterisk in a day field makes the other one decide alone; */1 is one too, 1-31 is not.
    plain := plain || CASE WHEN fields[i] ~ '(^|,)[*?](/0*1)?(,|$)' THEN '*' ELSE array_to_string(given, ',') END;
  END LOOP;
  RETURN plain;
END $$;

-- The first instant after `since` that a five-field expression in UTC names. Null as above, and when there is none in nine years.
CREATE FUNCTION reproq_cron_next(expression text, zone text, since timestamptz) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  plain text[] := reproq_cron_plain(expression, zone);
  start timestamp := date_trunc('minute', since AT TIME ZONE 'UTC') + interval '1 minute';
  day timestamp := date_trunc('day', start);
  minutes integer[] := CASE WHEN plain[1] = '*' THEN ARRAY(SELECT generate_series(0, 59)) ELSE string_to_array(plain[1], ',')::integer[] END;
  hours integer[] := CASE WHEN plain[2] = '*' THEN ARRAY(SELECT generate_series(0, 23)) ELSE string_to_array(plain[2], ',')::integer[] END;
  by_day boolean;
  by_weekday boolean;
  found timestamp;
BEGIN
  IF plain IS NULL OR NOT isfinite(since) THEN
    RETURN NULL;
  END IF;
  WHILE day < start + interval '9 years' LOOP
    by_day := plain[3] = '*' OR extract(day FROM day)::text = ANY (string_to_array(plain[3], ','));
    by_weekday := plain[5] = '*' OR extract(dow FROM day)::text = ANY (string_to_array(plain[5], ','));
    IF (plain[4] = '*' OR extract(month FROM day)::text = ANY (string_to_array(plain[4], ',')))
       AND (CASE WHEN '*' IN (plain[3], plain[5]) THEN by_day AND by_weekday ELSE by_day OR by_weekday END) THEN
      SELECT min(day + make_interval(hours => h, mins => m)) INTO found FROM unnest(hours) AS h, unnest(minutes) AS m WHERE day + make_interval(hours => h, mins => m) >= start;
      IF found IS NOT NULL THEN
        RETURN found AT TIME ZONE 'UTC';
      END IF;
    END IF;
    day := day + interval '1 day';
  END LOOP;
  RETURN NULL;
END $$;

-- Makes the run of a slot: null when the slot has one, or a twin of it is active where the Go worker's unique index forbids two.
-- Through the triggers, so that it is admitted as everybody else's runs are.
CREATE FUNCTION reproq_insert_scheduled(task periodic_tasks, slot timestamptz, due_at timestamptz, spec jsonb, spec_digest text, fired_by text) RETURNS bigint
LANGUAGE plpgsql SET reproq.internal TO 'off' AS $$
DECLARE
  made bigint;
BEGIN
  IF EXISTS (SELECT FROM reproq_firings f WHERE f.name = task.name AND f.slot = reproq_insert_scheduled.slot) THEN
    RETURN NULL;
  END IF;
  INSERT INTO task_runs AS t (queue_name, priority, run_after, spec_json, spec_hash, task_path, max_attempts, timeout_seconds, concurrency_key, concurrency_limit, reproq_retry, reproq_fair_key, expires_at, lock_key)
  VALUES (coalesce(nullif(task.queue_name, ''), 'default'), task.priority, due_at, spec, spec_digest, task.task_path, coalesce(nullif(greatest(task.max_attempts, 0), 0), 3),
          coalesce(ceil(task.reproq_timeout_ms / 1000.0)::integer, 900), task.concurrency_key, task.concurrency_limit, task.reproq_retry, task.reproq_fair_key,
          greatest(due_at, now()) + task.reproq_expires_ms * interval '1 ms',
          -- The one that is queued waits for the one that runs.
          CASE WHEN task.reproq_overlap = 'queue_one' THEN 'reproq:schedule:' || task.name ELSE task.reproq_lock_key END)
  ON CONFLICT DO NOTHING
  RETURNING t.result_id INTO made;
  IF made IS NOT NULL THEN
    INSERT INTO reproq_firings VALUES (task.name, reproq_insert_scheduled.slot, made, reproq_insert_scheduled.fired_by);
    DELETE FROM reproq_firings f WHERE f.name = task.name
       AND f.slot < (SELECT kept.slot FROM reproq_firings kept WHERE kept.name = task.name ORDER BY kept.slot DESC OFFSET 99 LIMIT 1);
  END IF;
  RETURN made;
END $$;

-- Whether the overlap policy keeps a slot from making a run. An active run is in one of the last firings.
CREATE FUNCTION reproq_overlaps(task periodic_tasks) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT task.reproq_overlap IN ('skip', 'queue_one') AND EXISTS (
    SELECT FROM reproq_firings f JOIN task_runs t USING (result_id)
     WHERE f.name = task.name AND (t.status IN ('READY', 'WAITING') OR (t.status = 'RUNNING' AND task.reproq_overlap = 'skip')))
$$;

-- Whether an error is one of a lock, the connection or the machine, and so no fault of the row: it may be gone the next time.
CREATE FUNCTION reproq_is_transient(state text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT state ~ '^(08|40|53|55|57|58)'
$$;

-- Fires one slot, or none (`slot` null), and moves the row on to `next_at`. Only while the row still is the version that was
-- read: whoever fires, plans or edits it makes a new one, and a row that another scheduler holds is skipped. Without a spec it makes one.
-- Outcomes: fired, skipped (overlap), duplicate (the slot has its run), planned (none was to fire), moved (not ours any more), failed.
CREATE FUNCTION reproq_fire(name text, version text, slot timestamptz, next_at timestamptz, due_at timestamptz, spec jsonb, spec_digest text, fired_by text,
                            OUT outcome text, OUT result_id bigint, OUT error text) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
  task periodic_tasks;
BEGIN
  SELECT * INTO task FROM periodic_tasks p WHERE p.name = name AND p.xmin::text = version AND p.enabled FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    outcome := 'moved';
    RETURN;
  END IF;
  IF next_at IS NULL THEN
    outcome := 'failed';
    error := format('The expression "%s" names no moment', task.cron_expr);
  ELSIF slot IS NULL THEN
    outcome := 'planned';
  ELSIF slot = task.last_run_at THEN
    outcome := 'duplicate';
  ELSIF reproq_overlaps(task) THEN
    outcome := 'skipped';
  ELSE
    BEGIN
      spec := coalesce(spec, reproq_schedule_spec(task, slot));
      result_id := reproq_insert_scheduled(task, slot, due_at, spec, coalesce(spec_digest, encode(sha256(convert_to(spec::text, 'UTF8')), 'hex')), fired_by);
      outcome := CASE WHEN result_id IS NULL THEN 'duplicate' ELSE 'fired' END;
    EXCEPTION WHEN OTHERS THEN
      IF reproq_is_transient(SQLSTATE) THEN
        RAISE;
      END IF;
      outcome := 'failed';
      error := SQLERRM;
    END;
  END IF;
  UPDATE periodic_tasks p
     SET next_run_at = CASE WHEN outcome = 'failed' THEN p.next_run_at ELSE next_at END,
         last_run_at = CASE WHEN outcome = 'fired' THEN slot ELSE p.last_run_at END,
         reproq_skipped = p.reproq_skipped + (outcome = 'skipped')::integer, reproq_replan = false,
         reproq_error = error, reproq_error_at = CASE WHEN error IS NOT NULL THEN now() END, updated_at = now()
   WHERE p.name = name;
END $$;

-- The spec of a slot, from SQL. The broker's is the same and hashed as Reproq's beat hashes it; this one, of jsonb text, as Reproq's
-- pg_cron function does. Raises what is wrong with the payload.
CREATE FUNCTION reproq_schedule_spec(task periodic_tasks, slot timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
  payload jsonb := coalesce(task.payload_json, '{}');
  args jsonb := CASE WHEN jsonb_typeof(payload) = 'array' THEN payload WHEN jsonb_typeof(payload) = 'object' AND payload ? 'args' THEN payload->'args' ELSE '[]' END;
  kwargs jsonb := CASE WHEN jsonb_typeof(payload) = 'array' THEN '{}' WHEN jsonb_typeof(payload) = 'object' AND payload ? 'kwargs' THEN payload->'kwargs'
                       WHEN jsonb_typeof(payload) = 'object' AND payload ? 'args' THEN '{}' ELSE payload END;
BEGIN
  IF jsonb_typeof(args) <> 'array' OR jsonb_typeof(kwargs) <> 'object' THEN
    RAISE EXCEPTION 'The schedule "%" has args that are % and kwargs that are %; payload_json holds an array and an object', task.name, jsonb_typeof(args), jsonb_typeof(kwargs) USING ERRCODE = '22023';
  END IF;
  RETURN jsonb_build_object(
    'task_path', task.task_path, 'args', args, 'kwargs', kwargs, 'queue_name', coalesce(nullif(task.queue_name, ''), 'default'), 'priority', task.priority,
    'concurrency_key', task.concurrency_key, 'concurrency_limit', task.concurrency_limit, 'periodic_name', task.name,
    'scheduled_at', to_char(slot AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
    'exec', jsonb_build_object('timeout_seconds', coalesce(ceil(task.reproq_timeout_ms / 1000.0)::integer, 900), 'max_attempts', coalesce(nullif(greatest(task.max_attempts, 0), 0), 3)));
END $$;

-- Fires a due schedule, once per slot whoever else fires it: what pg_cron calls. One that is not due, or not there, does nothing.
CREATE FUNCTION reproq_fire_due(task_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  task periodic_tasks;
  version text;
  slot timestamptz;
  oldest timestamptz;
  next_at timestamptz;
  fired record;
BEGIN
  LOOP
    SELECT p.xmin::text INTO version FROM periodic_tasks p
     WHERE p.name = task_name AND p.enabled AND p.reproq_error IS NULL AND (p.next_run_at <= now() OR p.reproq_replan) AND EXISTS (SELECT FROM reproq_scheduler WHERE mode <> 'off');
    SELECT p.* INTO task FROM periodic_tasks p WHERE p.name = task_name AND p.xmin::text = version;
    IF NOT FOUND THEN
      RETURN;
    END IF;
    IF reproq_cron_plain(task.cron_expr, task.reproq_time_zone) IS NULL THEN
      RAISE EXCEPTION 'The schedule "%" (%) cannot be fired from SQL', task.name, task.cron_expr
        USING ERRCODE = '22023', HINT = 'SQL and pg_cron fire five-field expressions in UTC; a broker fires time zones, seconds and @every.';
    END IF;
    slot := CASE WHEN NOT task.reproq_replan THEN task.next_run_at END;
    oldest := now() - coalesce(task.reproq_missed_window_ms, CASE task.reproq_missed WHEN 'skip' THEN 60000 WHEN 'all' THEN 86400000 END) * interval '1 ms';
    next_at := reproq_cron_next(task.cron_expr, task.reproq_time_zone, CASE WHEN slot IS NOT NULL AND task.reproq_missed = 'all' THEN greatest(slot, oldest) ELSE now() END);
    slot := CASE WHEN slot >= coalesce(oldest, slot) THEN slot END;
    fired := reproq_fire(task.name, version, slot, next_at, slot + coalesce(task.reproq_jitter_ms, 0) * random() * interval '1 ms', NULL, NULL, 'pg_cron');
    -- Another one fires it just now, or it rests until somebody looks.
    EXIT WHEN fired.outcome IN ('moved', 'failed') OR next_at > now();
  END LOOP;
END $$;

-- Under the name that Reproq gave it. Reproq's own version, which `manage.py reproq pg-cron` puts here, never works.
CREATE FUNCTION reproq_enqueue_periodic_task(task_name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM reproq_fire_due(task_name);
END $$;

-- A change takes effect at once: the error of before is forgotten, and a new expression, zone or resumption plans anew, unless the
-- same change says when. A row without next_run_at gets it here.
CREATE FUNCTION reproq_track_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    NEW.reproq_replan := NEW.reproq_replan OR NEW.next_run_at IS NULL;
    NEW.next_run_at := coalesce(NEW.next_run_at, reproq_cron_next(NEW.cron_expr, NEW.reproq_time_zone, now()), now());
    RETURN NEW;
  END IF;
  IF NEW.next_run_at IS DISTINCT FROM OLD.next_run_at THEN
    NEW.reproq_replan := false;
  ELSIF (NEW.cron_expr, NEW.reproq_time_zone) IS DISTINCT FROM (OLD.cron_expr, OLD.reproq_time_zone) OR (NEW.enabled AND NOT OLD.enabled) THEN
    NEW.reproq_replan := true;
  END IF;
  IF NEW.reproq_error IS NOT DISTINCT FROM OLD.reproq_error AND NEW IS DISTINCT FROM OLD THEN
    NEW.reproq_error := NULL;
    NEW.reproq_error_at := NULL;
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER reproq_track_schedule BEFORE INSERT OR UPDATE ON periodic_tasks
  FOR EACH ROW WHEN (current_setting('reproq.internal', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION reproq_track_schedule();

CREATE FUNCTION reproq_forget_schedule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM reproq_firings f WHERE f.name = OLD.name;
  RETURN NULL;
END $$;
CREATE TRIGGER reproq_forget_schedule AFTER DELETE ON periodic_tasks FOR EACH ROW EXECUTE FUNCTION reproq_forget_schedule();

CREATE FUNCTION reproq_announce_schedules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('reproq_schedules', '');
  RETURN NULL;
END $$;
CREATE TRIGGER reproq_announce_schedules AFTER INSERT OR UPDATE OR DELETE ON periodic_tasks
  FOR EACH STATEMENT WHEN (current_setting('reproq.internal', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION reproq_announce_schedules();
CREATE TRIGGER reproq_announce_scheduler AFTER UPDATE OF mode ON reproq_scheduler FOR EACH STATEMENT EXECUTE FUNCTION reproq_announce_schedules();
