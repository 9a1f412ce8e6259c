-- reproq_enqueue() and reproq_enqueue_workflow(): enqueue from SQL, inside the caller's own transaction.

-- What is wrong with a policy (an object), or null: a key that the broker does not know, or a value it would read otherwise than it was meant.
CREATE FUNCTION reproq_retry_fault(retry jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT format('%s: %s', key, left(value::text, 100)) FROM jsonb_each(retry)
   WHERE NOT coalesce(CASE
           WHEN key IN ('base_ms', 'cap_ms') THEN value @? 'strict $ ? (@ >= 0 && @ <= 2592000000)'
           WHEN key = 'factor' THEN value @? 'strict $ ? (@ >= 1 && @ <= 100)'
           WHEN key = 'jitter' THEN value @? 'strict $ ? (@ >= 0 && @ <= 1)'
           WHEN key = 'delays_ms' THEN value @? 'strict $ ? (@.type() == "array" && @.size() >= 1 && @.size() <= 100)' AND NOT value @? '$[*] ? (@.type() != "number" || @ < 0 || @ > 2592000000)'
           WHEN key = 'non_retryable' THEN value @? 'strict $ ? (@.type() == "array" && @.size() <= 100)' AND NOT value @? '$[*] ? (@.type() != "string")'
         END, false)
   ORDER BY key LIMIT 1
$$;
CREATE FUNCTION reproq_retry_hint() RETURNS text LANGUAGE sql IMMUTABLE
  RETURN 'Its keys are base_ms, factor, cap_ms, jitter, delays_ms, non_retryable: numbers, lists of numbers, of names of classes; waits are milliseconds, 30 days at most, the factor is 1 to 100, lists have 100 items at most. Such as {"base_ms": 5000, "factor": 2, "cap_ms": 60000}; or {"delays_ms": [1000, 60000], "non_retryable": ["ValueError"]}.';

-- Null, or an argument left out, means the default. With an idempotency key, the first enqueue of that key and task makes
-- a run and later ones are answered with it (deduplicated = true), for as long as the run is kept.
-- Of runs with one lock_key, one runs at a time; of runs with one concurrency_key, concurrency_limit; of runs with one rate_key,
-- rate_limit start in any rate_per, and rate_burst (rate_limit if null) at once. Runs of one queue with different fair_keys take
-- turns. A run that has not started by expires_at never starts. retry: {"base_ms", "factor", "cap_ms", "jitter", "delays_ms",
-- "non_retryable"}, all optional. With deduplicate, an equal run that waits or runs is the answer (deduplicated = true); runs
-- are equal that have one canonical_spec, which clients make, or, without it, one spec as Postgres prints it. What this writes to
-- comes with 0004.
-- Example: SELECT result_id FROM reproq_enqueue('mypkg.tasks.add', args => '[2, 3]');
CREATE FUNCTION reproq_enqueue(
  task_path text,
  args jsonb DEFAULT '[]',
  kwargs jsonb DEFAULT '{}',
  queue_name text DEFAULT 'default',
  priority integer DEFAULT 0,
  run_after timestamptz DEFAULT NULL,
  max_attempts integer DEFAULT 3,
  timeout_seconds integer DEFAULT 900,
  idempotency_key text DEFAULT NULL,
  lock_key text DEFAULT NULL,
  concurrency_key text DEFAULT NULL,
  concurrency_limit integer DEFAULT NULL,
  rate_key text DEFAULT NULL,
  rate_limit integer DEFAULT NULL,
  rate_per interval DEFAULT NULL,
  rate_burst integer DEFAULT NULL,
  fair_key text DEFAULT NULL,
  expires_at timestamptz DEFAULT NULL,
  retry jsonb DEFAULT NULL,
  deduplicate boolean DEFAULT false,
  canonical_spec text DEFAULT NULL,
  OUT result_id bigint,
  OUT deduplicated boolean
) LANGUAGE plpgsql SET reproq.twins TO 'off' AS $$
#variable_conflict use_variable
DECLARE
  spec jsonb;
  spec_digest text;
  key_digest bytea;
  holder bigint;
  rate_per_second real;
  wrong text;
BEGIN
  args := coalesce(args, '[]');
  kwargs := coalesce(kwargs, '{}');
  queue_name := coalesce(queue_name, 'default');
  priority := coalesce(priority, 0);
  max_attempts := coalesce(max_attempts, 3);
  timeout_seconds := coalesce(timeout_seconds, 900);
  IF coalesce(task_path, '') = '' THEN
    RAISE EXCEPTION 'reproq_enqueue: task_path is empty' USING ERRCODE = '22023', HINT = 'Give the name of the task, such as ''mypkg.tasks.add''.';
  END IF;
  IF jsonb_typeof(args) <> 'array' OR jsonb_typeof(kwargs) <> 'object' THEN
    RAISE EXCEPTION 'reproq_enqueue: args is a JSON array and kwargs a JSON object; got % and %', jsonb_typeof(args), jsonb_typeof(kwargs) USING ERRCODE = '22023';
  END IF;
  IF max_attempts < 1 OR timeout_seconds < 1 OR queue_name = '' THEN
    RAISE EXCEPTION 'reproq_enqueue: max_attempts and timeout_seconds are at least 1 and queue_name is not empty; got %, % and "%"', max_attempts, timeout_seconds, queue_name USING ERRCODE = '22023';
  END IF;
  IF '' IN (lock_key, concurrency_key, rate_key, fair_key) THEN
    RAISE EXCEPTION 'reproq_enqueue: a key is empty; lock_key, concurrency_key, rate_key and fair_key are null or text' USING ERRCODE = '22023';
  END IF;
  IF (concurrency_key IS NULL) <> (concurrency_limit IS NULL) OR concurrency_limit < 1 THEN
    RAISE EXCEPTION 'reproq_enqueue: concurrency_key and concurrency_limit (at least 1) go together; got % and %', concurrency_key, concurrency_limit USING ERRCODE = '22023';
  END IF;
  IF rate_key IS NOT NULL AND (coalesce(rate_limit, 0) < 1 OR coalesce(extract(epoch FROM rate_per), 0) <= 0 OR rate_burst < 1) THEN
    RAISE EXCEPTION 'reproq_enqueue: rate_key needs a rate_limit of at least 1 and a rate_per above 0; got % in %, burst %', rate_limit, rate_per, rate_burst USING ERRCODE = '22023',
      HINT = 'For 100 starts a minute: rate_limit => 100, rate_per => ''1 minute''.';
  END IF;
  IF jsonb_typeof(retry) <> 'object' THEN
    RAISE EXCEPTION 'reproq_enqueue: retry is a JSON object; got %', jsonb_typeof(retry) USING ERRCODE = '22023';
  END IF;
  wrong := reproq_retry_fault(retry);
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'reproq_enqueue: retry takes no %', wrong USING ERRCODE = '22023', HINT = reproq_retry_hint();
  END IF;
  IF priority NOT BETWEEN -32768 AND 32767 THEN
    RAISE EXCEPTION 'reproq_enqueue: priority is an integer from -32768 to 32767; got %', priority USING ERRCODE = '22023';
  END IF;
  IF deduplicate AND idempotency_key IS NOT NULL THEN
    RAISE EXCEPTION 'reproq_enqueue: deduplicate and idempotency_key exclude each other: the key means one run for ever, deduplicate one at a time' USING ERRCODE = '22023';
  END IF;

  rate_per_second := CASE WHEN rate_key IS NOT NULL THEN rate_limit / extract(epoch FROM rate_per) END;
  rate_burst := CASE WHEN rate_key IS NOT NULL THEN coalesce(rate_burst, rate_limit) END;

  deduplicated := false;
  IF idempotency_key IS NOT NULL THEN
    key_digest := sha256(convert_to(task_path || chr(31) || idempotency_key, 'UTF8'));
    SELECT i.result_id INTO result_id FROM reproq_idempotency i WHERE i.key_hash = key_digest;
    IF FOUND THEN
      deduplicated := true;
      RETURN;
    END IF;
  END IF;
  result_id := nextval(pg_get_serial_sequence('task_runs', 'result_id'));

  spec := jsonb_build_object(
    'v', 1, 'task_path', task_path, 'args', args, 'kwargs', kwargs, 'takes_context', false,
    'queue_name', queue_name, 'priority', priority, 'lock_key', lock_key, 'concurrency_key', concurrency_key, 'concurrency_limit', coalesce(concurrency_limit, 0),
    'run_after', to_char(run_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
    'exec', jsonb_build_object('timeout_seconds', timeout_seconds, 'max_attempts', max_attempts),
    'provenance', jsonb_build_object('code_ref', NULL, 'pip_lock_hash', NULL));
  IF deduplicate THEN
    spec_digest := encode(sha256(convert_to(coalesce(canonical_spec, spec::text), 'UTF8')), 'hex');
    SELECT w.result_id INTO holder FROM reproq_twins w JOIN task_runs t USING (result_id)
     WHERE w.spec_hash = spec_digest AND reproq_may_start(t.status, t.expires_at) LIMIT 1;
    holder := coalesce(holder, reproq_active_twin(spec_digest));
    IF holder IS NULL THEN
      -- As enqueue-controlled.sql does: who has the hash keeps it while it may still be run.
      INSERT INTO reproq_unique AS u (spec_hash, result_id) VALUES (spec_digest, result_id)
      ON CONFLICT (spec_hash) DO UPDATE
         SET result_id = CASE WHEN reproq_is_over(u.result_id)
                              THEN excluded.result_id ELSE u.result_id END
      RETURNING u.result_id INTO holder;
    END IF;
    IF holder <> result_id THEN
      result_id := holder;
      deduplicated := true;
      RETURN;
    END IF;
  ELSE
    -- Not Reproq's canonical hash, which cannot be told from jsonb (1e16 and 10000000000000000 are one value here), so salted
    -- with the id: a run from SQL is nobody's twin. In a database that the Go schema made, which allows one active run per hash,
    -- this is also what lets equal runs be.
    spec_digest := encode(sha256(convert_to(result_id || spec::text, 'UTF8')), 'hex');
  END IF;

  INSERT INTO task_runs AS t (result_id, queue_name, priority, run_after, spec_json, spec_hash, task_path, max_attempts, timeout_seconds,
                              lock_key, concurrency_key, concurrency_limit, expires_at, reproq_rate_key, reproq_rate_per_second, reproq_rate_burst, reproq_fair_key, reproq_retry)
  VALUES (result_id, queue_name, priority, run_after, spec, spec_digest, task_path, max_attempts, timeout_seconds,
          lock_key, concurrency_key, coalesce(concurrency_limit, 0), expires_at, rate_key, rate_per_second, rate_burst, fair_key, retry);

  IF rate_key IS NOT NULL THEN
    -- Written only where it is new or has other numbers: a lock on it would hold up every lease of this key until the caller commits.
    IF NOT EXISTS (SELECT FROM rate_limits b WHERE b.key = 'key:' || rate_key AND (b.reproq_by_hand OR b.tokens_per_second = rate_per_second AND b.burst_size = rate_burst)) THEN
      INSERT INTO rate_limits AS b (key, tokens_per_second, burst_size, current_tokens, reproq_by_hand) VALUES ('key:' || rate_key, rate_per_second, rate_burst, rate_burst, false)
      ON CONFLICT (key) DO UPDATE SET tokens_per_second = excluded.tokens_per_second, burst_size = excluded.burst_size WHERE NOT b.reproq_by_hand;
    END IF;
  END IF;

  IF key_digest IS NOT NULL THEN
    INSERT INTO reproq_idempotency AS i (key_hash, result_id) VALUES (key_digest, result_id) ON CONFLICT (key_hash) DO NOTHING;
    IF NOT FOUND THEN
      -- Another transaction was first and has committed while we waited: its run is the one.
      DELETE FROM task_runs t WHERE t.result_id = reproq_enqueue.result_id;
      SELECT i.result_id INTO result_id FROM reproq_idempotency i WHERE i.key_hash = key_digest;
      deduplicated := true;
    END IF;
  END IF;
END $$;

-- The first thing that is wrong with the nodes of a workflow, or null: what the REST interface refuses is refused. A field that is null
-- is left out. One statement for all nodes, for there may be many.
CREATE FUNCTION reproq_nodes_fault(nodes jsonb, OUT fault text, OUT hint text) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  places CONSTANT jsonb := (SELECT jsonb_object_agg(n.node->>'name', n.place ORDER BY n.place DESC) FROM jsonb_array_elements(nodes) WITH ORDINALITY n (node, place) WHERE n.node->>'name' <> '');
  graph CONSTANT text := 'Give each node a name of its own, and name in "after" only nodes that stand before it.';
  ranges CONSTANT jsonb := '{"priority": [-32768, 32767], "delay_ms": [0, 315360000000], "max_attempts": [1, 1000], "timeout_ms": [1, 2592000000], "concurrency_limit": [1, 1000000], "expires_in_ms": [1, 315360000000]}';
  lengths CONSTANT jsonb := '{"name": 255, "task": 512, "queue": 255, "lock_key": 255, "concurrency_key": 255, "fair_key": 255}';
  fields CONSTANT text := 'A node has a name, a task, and: input or args and kwargs, queue, priority, delay_ms or run_after, max_attempts, timeout_ms, lock_key, concurrency_key with concurrency_limit, rate, fair_key, expires_at or expires_in_ms, retry, after, when.';
BEGIN
  SELECT w.fault, w.hint INTO fault, hint
    FROM jsonb_array_elements(nodes) WITH ORDINALITY n (node, place)
    CROSS JOIN LATERAL (
      SELECT 1 AS step, '' AS key, CASE
          WHEN jsonb_typeof(n.node) <> 'object' OR coalesce(n.node->>'name', '') = '' OR coalesce(n.node->>'task', '') = '' THEN format('node %s needs a name and a task', n.place)
          WHEN (places->>(n.node->>'name'))::bigint <> n.place THEN format('two nodes are named "%s"', n.node->>'name') END AS fault, graph AS hint
      UNION ALL
      SELECT 2, f.key, CASE
          WHEN f.key = 'priority' THEN format('node "%s" has the priority %s; it is an integer from -32768 to 32767', n.node->>'name', f.value)
          WHEN f.key = 'when' THEN format('node "%s" has when: %s; it takes success, always or failure', n.node->>'name', f.value)
          WHEN f.key = 'retry' THEN format('node "%s": retry takes no %s', n.node->>'name', CASE jsonb_typeof(f.value) WHEN 'object' THEN reproq_retry_fault(f.value) ELSE f.value::text END)
          WHEN f.key = 'rate' THEN format('node "%s" has the rate %s; it needs a key of at most 251 characters, a limit from 1 to 1000000 and a per_ms from 1 to 2592000000', n.node->>'name', f.value)
          WHEN ranges ? f.key THEN format('node "%s" takes no %s: %s; it is an integer from %s to %s', n.node->>'name', f.key, left(f.value::text, 100), ranges->f.key->0, ranges->f.key->1)
          WHEN lengths ? f.key AND jsonb_typeof(f.value) = 'string' THEN format('node "%s" takes no %s: %s; it has from 1 to %s characters', left(n.node->>'name', 100), f.key, left(f.value::text, 100), lengths->f.key)
          ELSE format('node "%s" takes no %s: %s', n.node->>'name', f.key, left(f.value::text, 100)) END,
        CASE f.key WHEN 'retry' THEN reproq_retry_hint() WHEN 'rate' THEN 'For 100 starts a minute: {"key": "…", "limit": 100, "per_ms": 60000}.'
          ELSE fields END
        FROM jsonb_each(CASE jsonb_typeof(n.node) WHEN 'object' THEN n.node ELSE '{}' END) f
       WHERE f.value <> 'null' AND NOT coalesce(CASE
               WHEN f.key = 'input' THEN true
               WHEN ranges ? f.key THEN jsonb_path_exists(f.value, 'strict $ ? (@ >= $range[0] && @ <= $range[1] && @ % 1 == 0)', jsonb_build_object('range', ranges->f.key), true)
               WHEN lengths ? f.key THEN jsonb_typeof(f.value) = 'string' AND char_length(f.value #>> '{}') BETWEEN 1 AND (lengths->>f.key)::int
               WHEN f.key IN ('run_after', 'expires_at') THEN jsonb_typeof(f.value) = 'string' AND f.value <> '""'
               WHEN f.key = 'when' THEN f.value IN ('"success"', '"always"', '"failure"')
               WHEN f.key = 'args' THEN jsonb_typeof(f.value) = 'array'
               WHEN f.key IN ('kwargs', 'spec') THEN jsonb_typeof(f.value) = 'object'
               WHEN f.key = 'after' THEN jsonb_typeof(f.value) = 'array' AND NOT f.value @? '$[*] ? (@.type() != "string")'
               WHEN f.key = 'retry' THEN CASE jsonb_typeof(f.value) WHEN 'object' THEN reproq_retry_fault(f.value) IS NULL END
               WHEN f.key = 'rate' THEN f.value @? 'strict $ ? (@.key.type() == "string" && @.key != "" && @.limit >= 1 && @.limit <= 1000000 && @.limit % 1 == 0 && @.per_ms >= 1 && @.per_ms <= 2592000000 && @.per_ms % 1 == 0)'
                 AND char_length(f.value->>'key') <= 251 AND coalesce(nullif(f.value->'burst', 'null'), '1') @? 'strict $ ? (@ >= 1 && @ <= 1000000 && @ % 1 == 0)'
             END, false)
      UNION ALL
      SELECT 3, '', 'node "' || (n.node->>'name') || '" has ' || CASE
          WHEN coalesce(n.node->>'concurrency_key', n.node->>'concurrency_limit') IS NOT NULL AND num_nulls(n.node->>'concurrency_key', n.node->>'concurrency_limit') = 1 THEN 'a concurrency_key or a concurrency_limit alone; they go together'
          WHEN num_nonnulls(n.node->>'run_after', n.node->>'delay_ms') = 2 THEN 'both run_after and delay_ms; give one'
          WHEN num_nonnulls(n.node->>'expires_at', n.node->>'expires_in_ms') = 2 THEN 'both expires_at and expires_in_ms; give one'
          WHEN n.node->'input' <> 'null' AND num_nonnulls(n.node->>'args', n.node->>'kwargs') > 0 THEN 'both input and args or kwargs; input is short for args: [input]' END, fields
      UNION ALL
      SELECT 4, '', (SELECT format('node "%s" comes after "%s", which does not stand before it', n.node->>'name', a)
                       FROM jsonb_array_elements_text(CASE jsonb_typeof(n.node->'after') WHEN 'array' THEN n.node->'after' ELSE '[]' END) a
                      WHERE coalesce((places->>a)::bigint, n.place) >= n.place LIMIT 1), graph
    ) w
   WHERE w.fault IS NOT NULL ORDER BY n.place, w.step, w.key LIMIT 1;
END $$;

-- Makes a workflow in the caller's transaction: all of its runs or none. nodes is an array of objects: name, task, and what
-- else reproq_enqueue takes, by the names of the REST interface; after: names of runs that stand before it in the array;
-- when: "success" (the default), "always" or "failure". A run without `after` is ready at once. runs: their ids by name. checked: who calls, a broker, has made sure of the nodes.
-- The tables for this come with 0006.
-- Example: SELECT * FROM reproq_enqueue_workflow('[{"name": "a", "task": "app.fetch"}, {"name": "b", "task": "app.sum", "after": ["a"]}]');
CREATE FUNCTION reproq_enqueue_workflow(nodes jsonb, name text DEFAULT NULL, idempotency_key text DEFAULT NULL, checked boolean DEFAULT false,
  OUT workflow_id uuid, OUT deduplicated boolean, OUT runs jsonb)
  LANGUAGE plpgsql SET reproq.internal TO 'off' SET reproq.advancing TO 'on' SET reproq.twins TO 'off' AS $$
#variable_conflict use_variable
DECLARE
  ids bigint[];
  places jsonb;
  wrong text;
  fix text;
  key_digest bytea;
BEGIN
  IF nodes IS NULL OR jsonb_typeof(nodes) <> 'array' OR jsonb_array_length(nodes) = 0 THEN
    RAISE EXCEPTION 'reproq_enqueue_workflow: nodes is a JSON array of at least one object' USING ERRCODE = '22023';
  END IF;
  IF checked IS NOT TRUE THEN
    SELECT f.fault, f.hint INTO wrong, fix FROM reproq_nodes_fault(nodes) f;
  END IF;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'reproq_enqueue_workflow: %', wrong USING ERRCODE = '22023', HINT = fix;
  END IF;
  SELECT jsonb_object_agg(n.node->>'name', n.place) INTO places FROM jsonb_array_elements(nodes) WITH ORDINALITY n (node, place);

  IF idempotency_key IS NOT NULL THEN
    key_digest := sha256(convert_to(chr(31) || 'workflow' || chr(31) || idempotency_key, 'UTF8'));
    SELECT k.workflow_id, k.runs INTO workflow_id, runs FROM reproq_workflow_of_key(key_digest) k;
    IF workflow_id IS NOT NULL THEN
      deduplicated := true;
      RETURN;
    END IF;
  END IF;

  workflow_id := gen_random_uuid();
  deduplicated := false;
  ids := ARRAY(SELECT nextval(pg_get_serial_sequence('task_runs', 'result_id')) FROM generate_series(1, jsonb_array_length(nodes)));
  runs := (SELECT jsonb_object_agg(p.key, ids[p.value::bigint]::text) FROM jsonb_each_text(places) p);

  INSERT INTO reproq_workflows (workflow_id, name, total) VALUES (workflow_id, name, cardinality(ids));
  INSERT INTO reproq_dependencies (child_id, parent_id)
  SELECT DISTINCT ids[n.place], ids[(places->>a)::bigint]
    FROM jsonb_array_elements(nodes) WITH ORDINALITY n (node, place) CROSS JOIN LATERAL jsonb_array_elements_text(nullif(n.node->'after', 'null')) a;
  INSERT INTO task_runs (result_id, workflow_id, reproq_node, reproq_when, wait_count, status,
                         task_path, queue_name, priority, run_after, max_attempts, timeout_seconds, lock_key, concurrency_key, concurrency_limit,
                         expires_at, reproq_rate_key, reproq_rate_per_second, reproq_rate_burst, reproq_fair_key, reproq_retry, spec_json, spec_hash)
  SELECT ids[n.place], workflow_id, n.name, nullif(n."when", 'success'), w.wait_count, CASE WHEN w.wait_count > 0 THEN 'WAITING' ELSE 'READY' END,
         n.task, o.queue, o.priority, o.run_after, o.max_attempts, o.timeout_seconds, n.lock_key, n.concurrency_key, o.concurrency_limit,
         coalesce(n.expires_at, now() + n.expires_in_ms * interval '1 ms'), n.rate->>'key', r.per_second, r.burst, n.fair_key, nullif(n.retry, 'null'),
         coalesce(n.spec, jsonb_build_object(
           'v', 1, 'task_path', n.task, 'args', coalesce(n.args, CASE WHEN n.input IS NULL THEN '[]' ELSE jsonb_build_array(n.input) END), 'kwargs', coalesce(n.kwargs, '{}'),
           'takes_context', false, 'queue_name', o.queue, 'priority', o.priority, 'lock_key', n.lock_key, 'concurrency_key', n.concurrency_key, 'concurrency_limit', o.concurrency_limit,
           'run_after', to_char(o.run_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
           'exec', jsonb_build_object('timeout_seconds', o.timeout_seconds, 'max_attempts', o.max_attempts),
           'provenance', jsonb_build_object('code_ref', NULL, 'pip_lock_hash', NULL))),
         -- A part of a workflow is nobody's twin, as in Reproq.
         encode(sha256(convert_to(workflow_id || ':' || n.place, 'UTF8')), 'hex')
    FROM ROWS FROM (jsonb_to_recordset(nodes) AS (name text, task text, "when" text, args jsonb, kwargs jsonb, input jsonb, spec jsonb,
           -- Numbers, not integers: 2.0 is one too.
           queue text, priority numeric, delay_ms float8, run_after timestamptz, max_attempts numeric, timeout_ms float8, lock_key text, concurrency_key text,
           concurrency_limit numeric, rate jsonb, fair_key text, expires_at timestamptz, expires_in_ms float8, retry jsonb)) WITH ORDINALITY
         AS n (name, task, "when", args, kwargs, input, spec, queue, priority, delay_ms, run_after, max_attempts, timeout_ms, lock_key, concurrency_key,
           concurrency_limit, rate, fair_key, expires_at, expires_in_ms, retry, place)
    CROSS JOIN LATERAL (SELECT count(*)::int AS wait_count FROM reproq_dependencies d WHERE d.child_id = ids[n.place]) w
    CROSS JOIN LATERAL (SELECT coalesce(n.queue, 'default') AS queue, coalesce(n.priority::int, 0) AS priority, coalesce(n.max_attempts::int, 3) AS max_attempts,
           coalesce(ceil(n.timeout_ms / 1000)::int, 900) AS timeout_seconds, coalesce(n.run_after, now() + n.delay_ms * interval '1 ms') AS run_after,
           coalesce(n.concurrency_limit::int, 0) AS concurrency_limit) o
    CROSS JOIN LATERAL (SELECT ((n.rate->>'limit')::float8 * 1000 / (n.rate->>'per_ms')::float8)::real AS per_second,
           coalesce(n.rate->>'burst', n.rate->>'limit')::numeric::int AS burst) r
   ORDER BY n.place;

  -- As an enqueue does: written only where it is new or has other numbers, for every lease of a run with this key writes the row too.
  INSERT INTO rate_limits AS b (key, tokens_per_second, burst_size, current_tokens, reproq_by_hand)
  SELECT DISTINCT ON (t.reproq_rate_key) 'key:' || t.reproq_rate_key, t.reproq_rate_per_second, t.reproq_rate_burst, t.reproq_rate_burst, false
    FROM task_runs t
   WHERE t.result_id = ANY (ids) AND t.reproq_rate_key IS NOT NULL
     AND NOT EXISTS (SELECT FROM rate_limits b WHERE b.key = 'key:' || t.reproq_rate_key
                        AND (b.reproq_by_hand OR b.tokens_per_second = t.reproq_rate_per_second AND b.burst_size = t.reproq_rate_burst))
   ORDER BY t.reproq_rate_key, t.result_id DESC
  ON CONFLICT (key) DO UPDATE SET tokens_per_second = excluded.tokens_per_second, burst_size = excluded.burst_size WHERE NOT b.reproq_by_hand;

  IF key_digest IS NOT NULL THEN
    INSERT INTO reproq_idempotency AS i (key_hash, result_id) VALUES (key_digest, ids[1]) ON CONFLICT (key_hash) DO NOTHING;
    IF NOT FOUND THEN
      -- Another transaction was first and has committed while we waited: its workflow is the one.
      DELETE FROM task_runs t WHERE t.result_id = ANY (ids);
      DELETE FROM reproq_workflow_changes c WHERE c.workflow_id = workflow_id;
      DELETE FROM reproq_dependencies d WHERE d.child_id = ANY (ids);
      DELETE FROM reproq_workflows w WHERE w.workflow_id = workflow_id;
      SELECT k.workflow_id, k.runs INTO workflow_id, runs FROM reproq_workflow_of_key(key_digest) k;
      deduplicated := true;
    END IF;
  END IF;
END $$;

-- The workflow that has an idempotency key already, and its runs by name. The key leads to the first of them.
CREATE FUNCTION reproq_workflow_of_key(key_digest bytea, OUT workflow_id uuid, OUT runs jsonb) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
BEGIN
  SELECT t.workflow_id INTO workflow_id FROM reproq_idempotency i JOIN task_runs t USING (result_id) WHERE i.key_hash = key_digest;
  runs := (SELECT jsonb_object_agg(t.reproq_node, t.result_id::text) FROM task_runs t WHERE t.workflow_id = workflow_id);
END $$;
