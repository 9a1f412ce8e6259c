-- Workflows: which runs wait for which, what has changed, and the function that advances what waits.
--
-- A run of a workflow has a workflow_id. Whoever changes one leaves a note in the same transaction, and nothing else: settling
-- a run takes no lock that another one's settling could want. One broker at a time reads the notes and advances the runs that
-- wait. What it needs is in the tables as they are by then, so that no order of notes can be the wrong one.

-- The name of the run in its workflow; when it runs, given how its parents ended: "always", "failure", or null: when all succeeded.
ALTER TABLE task_runs
  ADD COLUMN reproq_node text,
  ADD COLUMN reproq_when text;

CREATE TABLE reproq_workflows (
  workflow_id uuid PRIMARY KEY,
  number      bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
  name        text,
  created_at  timestamptz NOT NULL DEFAULT now(),
  total       integer NOT NULL DEFAULT 0,
  succeeded   integer NOT NULL DEFAULT 0,
  failed      integer NOT NULL DEFAULT 0,
  cancelled   integer NOT NULL DEFAULT 0,
  skipped     integer NOT NULL DEFAULT 0,
  status      text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN succeeded + failed + cancelled + skipped < total THEN 'RUNNING'
         WHEN failed > 0 THEN 'FAILED' WHEN cancelled > 0 THEN 'CANCELLED' ELSE 'SUCCESSFUL' END) STORED
) WITH (fillfactor = 50);

-- child waits for parent. ended: how the parent ended, as far as the child was told. No foreign key: a parent that was pruned
-- has ended all the same.
CREATE TABLE reproq_dependencies (
  child_id  bigint NOT NULL,
  parent_id bigint NOT NULL,
  ended     text,
  PRIMARY KEY (child_id, parent_id)
);
CREATE INDEX reproq_dependencies_parent ON reproq_dependencies (parent_id);

-- Notes: a run of a workflow came, went, began to wait, or reached or left a final state. was and became are outcomes, OPEN or
-- WAITING; null: the run was not there. Without a run it is about the row in workflow_runs.
CREATE TABLE reproq_workflow_changes (
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  workflow_id uuid NOT NULL,
  result_id   bigint,
  was         text,
  became      text
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- How a run ended; null while it has not. A run that was never needed is cancelled, and says so in its last entry.
CREATE FUNCTION reproq_outcome(status text, errors jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN status = 'CANCELLED' AND errors->-1->>'kind' = 'workflow_skipped' THEN 'SKIPPED'
              WHEN status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') THEN status END;

CREATE FUNCTION reproq_note_workflow() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  was text;
  became text;
BEGIN
  IF TG_OP <> 'INSERT' THEN
    was := coalesce(reproq_outcome(OLD.status, OLD.errors_json), 'OPEN');
  END IF;
  IF TG_OP <> 'DELETE' THEN
    became := CASE NEW.status WHEN 'WAITING' THEN 'WAITING' ELSE coalesce(reproq_outcome(NEW.status, NEW.errors_json), 'OPEN') END;
  END IF;
  INSERT INTO reproq_workflow_changes (workflow_id, result_id, was, became)
  VALUES (CASE TG_OP WHEN 'DELETE' THEN OLD.workflow_id ELSE NEW.workflow_id END, CASE TG_OP WHEN 'DELETE' THEN OLD.result_id ELSE NEW.result_id END, was, became);
  -- Who advances workflows looks again by itself.
  IF current_setting('reproq.advancing', true) IS DISTINCT FROM 'on' THEN
    PERFORM pg_notify('reproq_workflow', '');
  END IF;
  RETURN NULL;
END $$;

-- For every writer, the broker's own statements too. A run outside of workflows pays for the WHEN.
CREATE TRIGGER reproq_workflow_insert AFTER INSERT ON task_runs
  FOR EACH ROW WHEN (NEW.workflow_id IS NOT NULL AND current_setting('reproq.advancing', true) IS DISTINCT FROM 'on')
  EXECUTE FUNCTION reproq_note_workflow();
CREATE TRIGGER reproq_workflow_update AFTER UPDATE ON task_runs
  FOR EACH ROW WHEN (NEW.workflow_id IS NOT NULL AND OLD.status <> NEW.status
    AND (OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') OR NEW.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED', 'WAITING')))
  EXECUTE FUNCTION reproq_note_workflow();
CREATE TRIGGER reproq_workflow_delete AFTER DELETE ON task_runs
  FOR EACH ROW WHEN (OLD.workflow_id IS NOT NULL) EXECUTE FUNCTION reproq_note_workflow();

-- A run that is made ready again while what it depends on has not succeeded waits again: a retry of everything that failed
-- must not run a child beside its parent. In the writer's transaction, so nobody can lease it in between.
-- Why it had ended without having run holds no longer, and goes: if somebody cancels it now, that is why it is over.
CREATE FUNCTION reproq_wait_again() RETURNS trigger LANGUAGE plpgsql SET reproq.internal TO 'off' AS $$
DECLARE
  must_wait boolean := EXISTS (SELECT FROM reproq_dependencies d WHERE d.child_id = NEW.result_id
                                  AND (d.ended IS NULL OR (NEW.reproq_when IS NULL AND d.ended IN ('FAILED', 'CANCELLED', 'SKIPPED'))));
  was_passed_over boolean := coalesce(NEW.errors_json->-1->>'kind' IN ('workflow_failed', 'workflow_skipped'), false);
BEGIN
  UPDATE task_runs
     SET status = CASE WHEN must_wait THEN 'WAITING' ELSE status END, updated_at = now(),
         errors_json = CASE WHEN was_passed_over THEN errors_json - -1 ELSE errors_json END
   WHERE result_id = NEW.result_id AND status = 'READY' AND (must_wait OR was_passed_over);
  RETURN NULL;
END $$;
-- After reproq_track_update, which makes an entry of the row as it was: triggers fire in the order of their names.
CREATE TRIGGER reproq_workflow_wait_again AFTER UPDATE ON task_runs
  FOR EACH ROW WHEN (NEW.workflow_id IS NOT NULL AND NEW.status = 'READY' AND OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED'))
  EXECUTE FUNCTION reproq_wait_again();

-- Reproq writes the row of a chord last, when members may have ended: its counts are brought up to date then.
CREATE FUNCTION reproq_note_workflow_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO reproq_workflow_changes (workflow_id) VALUES (NEW.workflow_id);
  PERFORM pg_notify('reproq_workflow', '');
  RETURN NULL;
END $$;
CREATE TRIGGER reproq_workflow_run_insert AFTER INSERT ON workflow_runs FOR EACH ROW EXECUTE FUNCTION reproq_note_workflow_run();

-- Takes at most `most` notes, the oldest first, and does what they ask for: one step. Children of runs that it fails are for
-- the next step, so that no lock is held for longer. busy: somebody else is at it. taken: notes that are done with.
-- postponed: notes about runs whose row somebody holds. runs: [{run, queue, task, status}] of the runs it moved.
--
-- It waits for no lock but those of its own tables: what is locked is passed over, and comes with the next step.
CREATE FUNCTION reproq_advance_workflows(most integer, OUT busy boolean, OUT taken integer, OUT postponed integer, OUT runs jsonb)
  -- Sets are joined with sets here: what a broker's connections are told about plans is for single rows.
  LANGUAGE plpgsql SET reproq.internal TO 'off' SET reproq.advancing TO 'on' SET enable_hashjoin TO 'on' AS $$
DECLARE
  notes reproq_workflow_changes[];
  kept reproq_workflow_changes[];
  waiting bigint[];
  changed bigint[];
  locked bigint[];
  held_up bigint[];
  left_out integer;
BEGIN
  taken := 0;
  postponed := 0;
  runs := '[]';
  -- One at a time: nothing below races with itself.
  busy := NOT pg_try_advisory_xact_lock(7241865327);
  IF busy THEN RETURN; END IF;
  LOOP
    notes := ARRAY(SELECT c FROM reproq_workflow_changes c WHERE c.seq > coalesce((notes[cardinality(notes)]).seq, 0) ORDER BY c.seq LIMIT most);
    IF notes = '{}' THEN RETURN; END IF;

    PERFORM reproq_link_foreign(ARRAY(SELECT n.result_id FROM unnest(notes) n WHERE n.became = 'WAITING'));

    WITH child AS (
      SELECT d.child_id FROM (SELECT DISTINCT n.result_id FROM unnest(notes) n) p JOIN reproq_dependencies d ON d.parent_id = p.result_id
      UNION SELECT n.result_id FROM unnest(notes) n WHERE n.became = 'WAITING'
    ), candidate AS (
      SELECT t.result_id FROM child c JOIN task_runs t ON t.result_id = c.child_id WHERE t.status IN ('WAITING', 'FAILED', 'CANCELLED')
    ), taken AS (
      SELECT t.result_id FROM task_runs t WHERE t.result_id IN (SELECT result_id FROM candidate) AND t.status IN ('WAITING', 'FAILED', 'CANCELLED') ORDER BY t.result_id FOR NO KEY UPDATE SKIP LOCKED
    )
    SELECT ARRAY(SELECT result_id FROM taken), ARRAY(SELECT result_id FROM candidate EXCEPT SELECT result_id FROM taken) INTO locked, held_up;

    IF held_up = '{}' THEN
      kept := notes;
    ELSE
      SELECT coalesce(array_agg(n), '{}') INTO kept FROM unnest(notes) n
       WHERE NOT EXISTS (SELECT FROM unnest(held_up) h (id) WHERE h.id = n.result_id OR EXISTS (SELECT FROM reproq_dependencies d WHERE d.child_id = h.id AND d.parent_id = n.result_id));
    END IF;
    postponed := postponed + cardinality(notes) - cardinality(kept);
    -- A child that is held and has many parents keeps as many notes here: those of others stand behind them.
    EXIT WHEN kept <> '{}' OR cardinality(notes) < most;
  END LOOP;
  DELETE FROM reproq_workflow_changes c USING unnest(kept) k WHERE c.seq = k.seq;
  -- Children that begin to wait are looked at as a whole; of the others, only what has changed for them.
  waiting := ARRAY(SELECT DISTINCT k.result_id FROM unnest(kept) k WHERE k.became = 'WAITING');
  changed := ARRAY(SELECT DISTINCT k.result_id FROM unnest(kept) k WHERE k.result_id IS NOT NULL);

  runs := reproq_advance_children(waiting, changed, locked);
  left_out := reproq_count_workflows(kept);
  postponed := postponed + left_out;
  taken := cardinality(kept) - left_out;
END $$;

-- Rows that Reproq's own code made say what they wait for in their own way: a link of a chain by its parent_id, the callback of
-- a chord by its wait_count, after all other runs of the workflow were made.
CREATE FUNCTION reproq_link_foreign(children bigint[]) RETURNS void LANGUAGE sql AS $$
  INSERT INTO reproq_dependencies (child_id, parent_id)
  SELECT t.result_id, coalesce(t.parent_id, m.result_id)
    FROM unnest(children) c (id)
    JOIN task_runs t ON t.result_id = c.id
    LEFT JOIN task_runs m ON t.parent_id IS NULL AND m.workflow_id = t.workflow_id AND m.result_id <> t.result_id
   WHERE t.status = 'WAITING' AND (t.parent_id IS NOT NULL OR (t.wait_count > 0 AND m.result_id IS NOT NULL))
     AND NOT EXISTS (SELECT FROM reproq_dependencies d WHERE d.child_id = t.result_id)
  ON CONFLICT DO NOTHING
$$;

-- What is to become of a child. cause: why it ends without having run (FAILED, CANCELLED, SKIPPED or GONE, as its parent did), else
-- null. root: the run it all began with, said: what that one's row says.
CREATE TYPE reproq_fate AS (result_id bigint, open integer, fate text, cause text, root bigint, said text);

-- Tells children how their parents ended, and moves those that need wait no longer. Runs `changed` may have ended or begun
-- anew; children `waiting` have just begun to wait. Only rows of `locked` are touched.
CREATE FUNCTION reproq_advance_children(waiting bigint[], changed bigint[], locked bigint[]) RETURNS jsonb LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  fates reproq_fate[];
  moved jsonb := '[]';
  one reproq_fate;
BEGIN
  WITH edge AS (
    SELECT d.child_id, d.parent_id, d.ended, true AS whole FROM unnest(waiting) c (id) JOIN reproq_dependencies d ON d.child_id = c.id
    UNION ALL
    SELECT d.child_id, d.parent_id, d.ended, false FROM unnest(changed) p (id) JOIN reproq_dependencies d ON d.parent_id = p.id
     WHERE NOT EXISTS (SELECT FROM unnest(waiting) c (id) WHERE c.id = d.child_id)
  ), seen AS MATERIALIZED (
    SELECT e.*, CASE WHEN p.result_id IS NULL THEN coalesce(e.ended, 'GONE') ELSE reproq_outcome(p.status, p.errors_json) END AS now_ended
      FROM edge e LEFT JOIN task_runs p ON p.result_id = e.parent_id
  ), told AS (
    UPDATE reproq_dependencies d SET ended = s.now_ended
      FROM seen s WHERE d.child_id = s.child_id AND d.parent_id = s.parent_id AND s.ended IS DISTINCT FROM s.now_ended
  ), delta AS (
    SELECT child_id, count(*) FILTER (WHERE now_ended IS NULL) - count(*) FILTER (WHERE ended IS NULL) AS open,
           min(parent_id) FILTER (WHERE now_ended IN ('FAILED', 'CANCELLED', 'GONE')) AS broken, bool_or(now_ended = 'SKIPPED') AS skipped,
           bool_or(now_ended IS NULL) AS reopened
      FROM seen WHERE NOT whole AND ended IS DISTINCT FROM now_ended GROUP BY child_id
  ), whole AS (
    SELECT c.id AS child_id, count(s.parent_id) FILTER (WHERE s.now_ended IS NULL) AS open,
           min(s.parent_id) FILTER (WHERE s.now_ended IN ('FAILED', 'CANCELLED', 'GONE')) AS broken, bool_or(s.now_ended = 'SKIPPED') AS skipped
      FROM unnest(waiting) c (id) LEFT JOIN seen s ON s.child_id = c.id AND s.whole GROUP BY c.id
  ), child AS (
    SELECT t.result_id, t.status, t.reproq_when, t.wait_count + d.open AS open, d.broken, d.skipped, d.reopened, t.attempts, t.errors_json
      FROM delta d JOIN task_runs t ON t.result_id = d.child_id
    UNION ALL
    SELECT t.result_id, t.status, t.reproq_when, w.open, w.broken, w.skipped, false, t.attempts, t.errors_json
      FROM whole w JOIN task_runs t ON t.result_id = w.child_id
  ), fate AS (
    SELECT c.result_id, greatest(c.open, 0) AS open, c.broken, CASE
        WHEN c.status = 'WAITING' AND c.reproq_when IS NULL AND c.broken IS NOT NULL THEN 'FAILED'
        WHEN c.status = 'WAITING' AND c.reproq_when IS NULL AND c.skipped THEN 'SKIPPED'
        WHEN c.status = 'WAITING' AND c.open > 0 THEN 'WAITING'
        WHEN c.status = 'WAITING' AND c.reproq_when = 'failure' AND c.broken IS NULL AND NOT EXISTS (
          SELECT FROM reproq_dependencies d WHERE d.child_id = c.result_id AND d.ended IN ('FAILED', 'CANCELLED', 'GONE')) THEN 'SKIPPED'
        WHEN c.status = 'WAITING' THEN 'READY'
        -- It ended because of a parent that begins anew: it waits again. What it waits for is counted in the next step.
        WHEN c.reopened AND c.attempts = 0 AND c.errors_json->-1->>'kind' IN ('workflow_failed', 'workflow_skipped') THEN 'WAITING'
      END AS fate
      FROM child c JOIN unnest(locked) l (id) ON l.id = c.result_id
  )
  SELECT coalesce(array_agg(ROW (f.result_id, f.open, f.fate, CASE
        WHEN f.fate = 'SKIPPED' THEN 'SKIPPED'
        WHEN f.fate = 'FAILED' THEN CASE WHEN p.result_id IS NULL THEN 'GONE' WHEN p.status = 'CANCELLED' THEN 'CANCELLED' ELSE 'FAILED' END END,
      -- The run it all began with, not the one in between. Anybody may have written what stands there.
      coalesce(CASE WHEN p.errors_json->-1->>'failed_result_id' ~ '^\d{1,18}$' THEN (p.errors_json->-1->>'failed_result_id')::bigint END, p.result_id, f.broken),
      p.last_error)::reproq_fate), '{}')
    INTO fates FROM fate f LEFT JOIN task_runs p ON f.fate = 'FAILED' AND p.result_id = f.broken WHERE f.fate IS NOT NULL;
  BEGIN
    RETURN reproq_move_children(fates);
  EXCEPTION WHEN OTHERS THEN
    -- One of them cannot be: each alone shows which.
    FOREACH one IN ARRAY fates LOOP
      moved := moved || reproq_move_child(one);
    END LOOP;
    RETURN moved;
  END;
END $$;

-- Does with children what is to become of them. Returns [{run, queue, task, status}] of those that wait no longer.
CREATE FUNCTION reproq_move_children(fates reproq_fate[]) RETURNS jsonb LANGUAGE sql AS $$
  WITH done AS (
    UPDATE task_runs t
       SET status = CASE WHEN r.cause IN ('CANCELLED', 'SKIPPED') THEN 'CANCELLED' ELSE r.fate END,
           wait_count = r.open, updated_at = now(),
           finished_at = CASE WHEN r.cause IS NOT NULL THEN now() END,
           failed_at = CASE WHEN r.cause IN ('FAILED', 'GONE') THEN now() END,
           last_error = CASE WHEN r.cause IS NULL THEN NULL ELSE left(s.kind || ': ' || s.message, 1024) END,
           errors_json = CASE
             WHEN r.cause IS NULL AND t.status IN ('FAILED', 'CANCELLED') THEN t.errors_json - -1 -- Why it had ended holds no longer.
             WHEN r.cause IS NULL THEN t.errors_json
             ELSE t.errors_json || jsonb_strip_nulls(jsonb_build_object(
             'kind', s.kind, 'exception_class', CASE s.kind WHEN 'workflow_failed' THEN 'WorkflowFailed' END, 'message', s.message, 'failed_result_id', r.root, 'at', now())) END
      FROM unnest(fates) r
      CROSS JOIN LATERAL (SELECT CASE r.cause WHEN 'SKIPPED' THEN 'workflow_skipped' ELSE 'workflow_failed' END AS kind, CASE r.cause
        WHEN 'SKIPPED' THEN 'It was not needed, given how the runs before it ended'
        WHEN 'GONE' THEN format('Run %s, which it waited for, was deleted before it had ended', r.root)
        -- What is said of a run in between says already which one it began with.
        ELSE coalesce(CASE WHEN r.said LIKE 'workflow_failed: %' THEN substr(r.said, 18) END,
          format('Run %s, which it waited for, %s%s', r.root, CASE r.cause WHEN 'CANCELLED' THEN 'was cancelled' ELSE 'failed' END, ': ' || left(r.said, 500))) END AS message) s
     WHERE t.result_id = r.result_id
    RETURNING t.result_id, t.queue_name, t.task_path, t.status
  )
  SELECT coalesce(jsonb_agg(jsonb_build_object('run', result_id::text, 'queue', queue_name, 'task', task_path, 'status', status)), '[]')
    FROM done WHERE status <> 'WAITING'
$$;

-- The same for one. What the database refuses (an active run has its hash, an application's trigger objects) ends as FAILED and says
-- why; what it refuses even that stays as it is. A run that cannot be moved must not keep every other workflow waiting.
CREATE FUNCTION reproq_move_child(fate reproq_fate) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  moved jsonb;
  message text;
BEGIN
  RETURN reproq_move_children(ARRAY[fate]);
EXCEPTION WHEN OTHERS THEN
  -- Not the run's fault, and gone the next time.
  IF reproq_is_transient(SQLSTATE) THEN RAISE; END IF;
  message := format('It could not become %s: %s', fate.fate, SQLERRM);
  BEGIN
    UPDATE task_runs t
       SET status = 'FAILED', finished_at = now(), failed_at = now(), updated_at = now(), last_error = left('workflow_failed: ' || message, 1024),
           errors_json = CASE jsonb_typeof(t.errors_json) WHEN 'array' THEN t.errors_json ELSE '[]' END
             || jsonb_build_object('kind', 'workflow_failed', 'exception_class', 'WorkflowFailed', 'message', message, 'at', now())
     WHERE t.result_id = fate.result_id
    RETURNING jsonb_build_array(jsonb_build_object('run', t.result_id::text, 'queue', t.queue_name, 'task', t.task_path, 'status', t.status)) INTO moved;
    RETURN moved;
  EXCEPTION WHEN OTHERS THEN
    IF reproq_is_transient(SQLSTATE) THEN RAISE; END IF;
    RAISE WARNING 'Run % of a workflow could not be moved: %', fate.result_id, SQLERRM;
    RETURN '[]';
  END;
END $$;

-- Brings the counts of workflows up to date: ours by what the notes say, each once; Reproq's workflow_runs from ours. Returns how many
-- of those somebody holds; there is a note for each.
CREATE FUNCTION reproq_count_workflows(notes reproq_workflow_changes[]) RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  left_out integer;
  gone bigint[] := ARRAY(SELECT n.result_id FROM unnest(notes) n WHERE n.became IS NULL AND n.result_id IS NOT NULL);
  workflows uuid[] := ARRAY(SELECT DISTINCT n.workflow_id FROM unnest(notes) n);
BEGIN
  INSERT INTO reproq_workflows AS w (workflow_id, total, succeeded, failed, cancelled, skipped)
  SELECT n.workflow_id, count(*) FILTER (WHERE n.was IS NULL),
         count(*) FILTER (WHERE became = 'SUCCESSFUL') - count(*) FILTER (WHERE was = 'SUCCESSFUL' AND became IS NOT NULL),
         count(*) FILTER (WHERE became = 'FAILED') - count(*) FILTER (WHERE was = 'FAILED' AND became IS NOT NULL),
         -- What is deleted before it has ended will not run; what had ended has ended still.
         count(*) FILTER (WHERE became = 'CANCELLED' OR (was = 'OPEN' AND became IS NULL)) - count(*) FILTER (WHERE was = 'CANCELLED' AND became IS NOT NULL),
         count(*) FILTER (WHERE became = 'SKIPPED') - count(*) FILTER (WHERE was = 'SKIPPED' AND became IS NOT NULL)
    FROM unnest(notes) n WHERE n.result_id IS NOT NULL GROUP BY n.workflow_id
  ON CONFLICT (workflow_id) DO UPDATE
     SET total = w.total + excluded.total, succeeded = w.succeeded + excluded.succeeded, failed = w.failed + excluded.failed,
         cancelled = w.cancelled + excluded.cancelled, skipped = w.skipped + excluded.skipped;

  IF gone <> '{}' THEN
    DELETE FROM reproq_dependencies d USING unnest(gone) g (id) WHERE d.child_id = g.id;
    DELETE FROM reproq_workflows w USING unnest(workflows) u (id)
     WHERE w.workflow_id = u.id AND NOT EXISTS (SELECT FROM task_runs t WHERE t.workflow_id = u.id);
  END IF;

  -- Set, not raised: the Go worker counts what it finishes itself, in the same row.
  WITH theirs AS (
    SELECT r.workflow_id FROM workflow_runs r WHERE r.workflow_id = ANY (workflows) FOR UPDATE SKIP LOCKED
  ), later AS (
    INSERT INTO reproq_workflow_changes (workflow_id)
    SELECT r.workflow_id FROM workflow_runs r WHERE r.workflow_id = ANY (workflows) AND NOT EXISTS (SELECT FROM theirs t WHERE t.workflow_id = r.workflow_id)
    RETURNING 1
  ), figures AS (
    SELECT w.workflow_id, w.succeeded - (c.outcome IS NOT DISTINCT FROM 'SUCCESSFUL')::int AS succeeded,
           w.failed + w.cancelled - (c.outcome IS NOT NULL AND c.outcome IN ('FAILED', 'CANCELLED'))::int AS failed, c.outcome
      FROM theirs JOIN reproq_workflows w USING (workflow_id) JOIN workflow_runs r USING (workflow_id)
      LEFT JOIN LATERAL (SELECT reproq_outcome(t.status, t.errors_json) AS outcome FROM task_runs t WHERE t.result_id = r.callback_result_id) c ON true
  ), done AS (
    UPDATE workflow_runs r
       SET success_count = greatest(c.succeeded, 0), failure_count = greatest(c.failed, 0), updated_at = now(),
           status = CASE WHEN c.failed > 0 OR c.outcome IN ('FAILED', 'CANCELLED', 'SKIPPED') THEN 'FAILED' WHEN c.outcome = 'SUCCESSFUL' THEN 'SUCCESSFUL'
                         WHEN c.succeeded >= r.expected_count THEN 'WAITING_CALLBACK' ELSE 'RUNNING' END
      FROM figures c WHERE r.workflow_id = c.workflow_id
  )
  SELECT count(*) INTO left_out FROM later;
  RETURN left_out;
END $$;

-- What a run's parents came to, as JSON text by name (or id): {"a": {"run": "7", "status": "SUCCESSFUL", "output": …}}. Null for a
-- run that has none; a sentence instead of JSON when it would be longer than `most` bytes, or none of them is kept.
-- Not STABLE: a lease may have waited since its snapshot was taken, and parents have ended meanwhile.
CREATE FUNCTION reproq_parents(child bigint, most integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  bytes bigint;
  parents integer;
  kept integer;
  outcome text;
BEGIN
  SELECT count(*), count(p.result_id), sum(pg_column_size(p.return_json)) INTO parents, kept, bytes
    FROM reproq_dependencies d LEFT JOIN task_runs p ON p.result_id = d.parent_id WHERE d.child_id = child;
  IF parents = 0 THEN RETURN NULL; END IF;
  IF kept = 0 THEN
    RETURN format('The %s runs it waited for were deleted, and what they returned with them', parents);
  END IF;
  -- Compressed, so a lower bound: outputs that are far too large are not even read.
  IF coalesce(bytes, 0) <= most THEN
    SELECT '{' || string_agg(to_json(coalesce(p.reproq_node, p.result_id::text))::text || ':{"run":"' || p.result_id || '","status":"' || p.status || '","output":'
             || coalesce(CASE WHEN p.status = 'SUCCESSFUL' THEN p.return_json::text END, 'null')
             || coalesce(',"error":' || CASE WHEN p.status <> 'SUCCESSFUL' THEN to_json(left(p.last_error, 1024))::text END, '') || '}', ',' ORDER BY p.result_id) || '}'
      INTO outcome
      FROM reproq_dependencies d JOIN task_runs p ON p.result_id = d.parent_id WHERE d.child_id = child;
    bytes := octet_length(outcome);
  END IF;
  IF bytes <= most THEN
    RETURN outcome;
  END IF;
  RETURN format('The results of its %s parents take at least %s bytes together; the limit is %s (REPROQ_PARENTS_BYTES)', kept, bytes, most);
END $$;

-- What waited before we came, and what it may wait for.
INSERT INTO reproq_workflow_changes (workflow_id, result_id, was, became)
  SELECT t.workflow_id, t.result_id, NULL, CASE t.status WHEN 'WAITING' THEN 'WAITING' ELSE coalesce(reproq_outcome(t.status, t.errors_json), 'OPEN') END
    FROM task_runs t
   WHERE t.workflow_id IN (SELECT o.workflow_id FROM task_runs o WHERE o.workflow_id IS NOT NULL AND o.status IN ('WAITING', 'READY', 'RUNNING'));
