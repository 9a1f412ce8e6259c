-- Reproq's own tables as they are, on an empty database; on one that Django's migrations or the Go SQL made:
-- the defaults, columns and tables that are missing. Rewrites only rows that lack their task_path, and can run again.
--
-- Reproq's indexes on columns that change (status, leased_until, …) are left out on purpose: with one of them, every
-- status change writes to every index of the table; without, it is a HOT update. Ready, scheduled and leased runs are
-- found through the narrow tables of 0002 instead. An adopted database keeps the indexes it has.

-- The first releases of Reproq had an enumerated status and arrays. What comes here would fail on them in words that help nobody.
DO $$
DECLARE
  wrong text;
BEGIN
  SELECT string_agg(format('%s.%s is %s', k.tab, k.col, format_type(a.atttypid, NULL)), ', ') INTO wrong
    FROM (VALUES ('task_runs', 'result_id', 'bigint'), ('task_runs', 'status', 'text'), ('task_runs', 'worker_ids', 'jsonb'), ('task_runs', 'errors_json', 'jsonb'),
                 ('reproq_workers', 'queues', 'jsonb')) AS k (tab, col, type)
    JOIN pg_attribute a ON a.attrelid = to_regclass(k.tab) AND a.attname = k.col
   WHERE format_type(a.atttypid, NULL) <> k.type;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION 'These tables are of a Reproq older than its migration 0001_baseline: %. Upgrade reproq-django (manage.py migrate) or reproq-worker (its own SQL migrations) first, then run this again', wrong;
  END IF;
END $$;

CREATE TABLE IF NOT EXISTS task_runs (
  result_id         bigserial PRIMARY KEY,
  backend_alias     text NOT NULL DEFAULT 'default',
  queue_name        text NOT NULL DEFAULT 'default',
  priority          integer NOT NULL DEFAULT 0,
  run_after         timestamptz,
  spec_json         jsonb NOT NULL,
  spec_hash         varchar(64) NOT NULL,
  task_path         text,
  status            text NOT NULL DEFAULT 'READY',
  enqueued_at       timestamptz NOT NULL DEFAULT now(),
  started_at        timestamptz,
  last_attempted_at timestamptz,
  finished_at       timestamptz,
  attempts          integer NOT NULL DEFAULT 0,
  max_attempts      integer NOT NULL DEFAULT 3,
  timeout_seconds   integer NOT NULL DEFAULT 900,
  lock_key          text,
  concurrency_key   text,
  concurrency_limit integer NOT NULL DEFAULT 0,
  worker_ids        jsonb NOT NULL DEFAULT '[]',
  return_json       jsonb,
  errors_json       jsonb NOT NULL DEFAULT '[]',
  metadata_json     jsonb NOT NULL DEFAULT '{}',
  last_error        text,
  failed_at         timestamptz,
  leased_until      timestamptz,
  leased_by         text,
  logs_uri          text,
  artifacts_uri     text,
  expires_at        timestamptz,
  parent_id         bigint REFERENCES task_runs (result_id) ON DELETE SET NULL,
  workflow_id       uuid,
  wait_count        integer NOT NULL DEFAULT 0,
  created_at        timestamptz NOT NULL DEFAULT now(),
  updated_at        timestamptz NOT NULL DEFAULT now(),
  cancel_requested  boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS periodic_tasks (
  name              text PRIMARY KEY,
  cron_expr         text NOT NULL,
  task_path         text NOT NULL,
  payload_json      jsonb NOT NULL DEFAULT '{}',
  queue_name        text NOT NULL DEFAULT 'default',
  priority          integer NOT NULL DEFAULT 0,
  max_attempts      integer NOT NULL DEFAULT 3,
  concurrency_key   text,
  concurrency_limit integer NOT NULL DEFAULT 0,
  last_run_at       timestamptz,
  next_run_at       timestamptz NOT NULL,
  enabled           boolean NOT NULL DEFAULT true,
  created_at        timestamptz NOT NULL DEFAULT now(),
  updated_at        timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS reproq_queue_controls (
  queue_name text PRIMARY KEY,
  paused     boolean NOT NULL DEFAULT false,
  paused_at  timestamptz,
  reason     text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS reproq_workers (
  worker_id    text PRIMARY KEY,
  hostname     text,
  concurrency  integer,
  queues       jsonb NOT NULL DEFAULT '[]',
  started_at   timestamptz NOT NULL DEFAULT now(),
  last_seen_at timestamptz NOT NULL DEFAULT now(),
  version      text
);

CREATE TABLE IF NOT EXISTS rate_limits (
  key               text PRIMARY KEY,
  tokens_per_second real NOT NULL,
  burst_size        integer NOT NULL,
  current_tokens    real NOT NULL,
  last_refilled_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens) VALUES ('global', 0, 1, 0) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS workflow_runs (
  workflow_id        uuid PRIMARY KEY,
  expected_count     integer NOT NULL,
  success_count      integer NOT NULL DEFAULT 0,
  failure_count      integer NOT NULL DEFAULT 0,
  callback_result_id bigint,
  status             text NOT NULL DEFAULT 'RUNNING',
  created_at         timestamptz NOT NULL DEFAULT now(),
  updated_at         timestamptz NOT NULL DEFAULT now()
);

-- Columns that came into Reproq's migrations after databases had been made by them; Django does not add them to those either.
ALTER TABLE task_runs
  ADD COLUMN IF NOT EXISTS task_path text,
  ADD COLUMN IF NOT EXISTS concurrency_key text,
  ADD COLUMN IF NOT EXISTS concurrency_limit integer NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS metadata_json jsonb NOT NULL DEFAULT '{}',
  ADD COLUMN IF NOT EXISTS last_error text,
  ADD COLUMN IF NOT EXISTS failed_at timestamptz;
ALTER TABLE periodic_tasks
  ADD COLUMN IF NOT EXISTS concurrency_key text,
  ADD COLUMN IF NOT EXISTS concurrency_limit integer NOT NULL DEFAULT 0;
-- The CHECK below holds every later change of a row to it: without a path it could be neither started nor ended.
UPDATE task_runs SET task_path = coalesce(nullif(spec_json->>'task_path', ''), 'unknown') WHERE task_path IS NULL OR task_path = '';

-- Tables that Django made have no defaults in the database. SET DEFAULT touches no row.
ALTER TABLE task_runs
  ALTER backend_alias SET DEFAULT 'default', ALTER queue_name SET DEFAULT 'default', ALTER priority SET DEFAULT 0,
  ALTER status SET DEFAULT 'READY', ALTER enqueued_at SET DEFAULT now(), ALTER attempts SET DEFAULT 0,
  ALTER max_attempts SET DEFAULT 3, ALTER timeout_seconds SET DEFAULT 900, ALTER concurrency_limit SET DEFAULT 0,
  ALTER worker_ids SET DEFAULT '[]', ALTER errors_json SET DEFAULT '[]', ALTER metadata_json SET DEFAULT '{}',
  ALTER wait_count SET DEFAULT 0, ALTER created_at SET DEFAULT now(), ALTER updated_at SET DEFAULT now(),
  ALTER cancel_requested SET DEFAULT false,
  -- Room on each page for the two later versions of a row, so that they stay HOT.
  SET (fillfactor = 50);
ALTER TABLE periodic_tasks
  ALTER payload_json SET DEFAULT '{}', ALTER queue_name SET DEFAULT 'default', ALTER priority SET DEFAULT 0,
  ALTER max_attempts SET DEFAULT 3, ALTER concurrency_limit SET DEFAULT 0, ALTER enabled SET DEFAULT true,
  ALTER created_at SET DEFAULT now(), ALTER updated_at SET DEFAULT now();
ALTER TABLE reproq_queue_controls
  ALTER paused SET DEFAULT false, ALTER created_at SET DEFAULT now(), ALTER updated_at SET DEFAULT now();
ALTER TABLE reproq_workers
  ALTER queues SET DEFAULT '[]', ALTER started_at SET DEFAULT now(), ALTER last_seen_at SET DEFAULT now(),
  -- As the Go SQL has them; Django makes them NOT NULL, and a worker need not say where it is.
  ALTER hostname DROP NOT NULL, ALTER concurrency DROP NOT NULL;

CREATE INDEX IF NOT EXISTS idx_periodic_tasks_next_run ON periodic_tasks (next_run_at) WHERE enabled;
CREATE INDEX IF NOT EXISTS idx_workflow_runs_callback ON workflow_runs (callback_result_id);
-- Of no cost to a run outside a workflow: neither column changes, and both are null there.
CREATE INDEX IF NOT EXISTS reproq_task_runs_parent ON task_runs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS reproq_task_runs_workflow ON task_runs (workflow_id) WHERE workflow_id IS NOT NULL;

-- A row written without task_path takes it from its spec, as in all three of Reproq's own schema makers. Theirs also fires
-- before updates of the two columns, which nobody makes; here it does not, because a table with any BEFORE UPDATE trigger
-- locks each row before it updates it, and that is a log record per row.
CREATE OR REPLACE FUNCTION reproq_task_path_from_spec() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.task_path IS NULL OR NEW.task_path = '' THEN
    NEW.task_path := NEW.spec_json->>'task_path';
  END IF;
  RETURN NEW;
END $$;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'task_runs'::regclass AND tgname = 'trg_task_runs_task_path') THEN
    CREATE TRIGGER trg_task_runs_task_path BEFORE INSERT ON task_runs
      FOR EACH ROW WHEN (NEW.task_path IS NULL OR NEW.task_path = '') EXECUTE FUNCTION reproq_task_path_from_spec();
  END IF;
  IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'task_runs'::regclass AND conname = 'task_runs_task_path_not_empty') THEN
    -- NOT VALID: rows from before are not read; new ones are held to it.
    ALTER TABLE task_runs ADD CONSTRAINT task_runs_task_path_not_empty CHECK (task_path IS NOT NULL AND task_path <> '') NOT VALID;
  END IF;
END $$;
