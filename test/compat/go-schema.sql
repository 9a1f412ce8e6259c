-- The tables as the Go worker's own SQL leaves them, by the facts of reproq-worker 0.0.144: char(64), defaults in the
-- database, ten indexes on task_runs with the primary key's, a CHECK that old rows were not held to, the seed row.

CREATE TABLE task_runs (
  result_id         bigserial PRIMARY KEY,
  backend_alias     text NOT NULL DEFAULT 'default',
  queue_name        text NOT NULL DEFAULT 'default',
  priority          integer NOT NULL DEFAULT 0,
  run_after         timestamptz,
  spec_json         jsonb NOT NULL,
  spec_hash         char(64) NOT NULL,
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
  cancel_requested  boolean NOT NULL DEFAULT FALSE
);

CREATE INDEX idx_task_runs_claim ON task_runs (queue_name, status, priority DESC, enqueued_at) WHERE status = 'READY';
CREATE UNIQUE INDEX idx_task_runs_spec_unique ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING');
CREATE INDEX idx_task_runs_lock_key ON task_runs (lock_key) WHERE status = 'RUNNING';
CREATE INDEX idx_task_runs_concurrency_active ON task_runs (concurrency_key, leased_until) WHERE status = 'RUNNING' AND concurrency_key IS NOT NULL;
CREATE INDEX idx_task_runs_parent_id ON task_runs (parent_id) WHERE status = 'WAITING';
CREATE INDEX idx_task_runs_workflow_id ON task_runs (workflow_id);
CREATE INDEX idx_task_runs_failed_at ON task_runs (failed_at) WHERE status = 'FAILED';
CREATE INDEX idx_task_runs_task_path ON task_runs (task_path);
CREATE INDEX idx_task_runs_claim_due ON task_runs (queue_name, COALESCE(run_after, '-infinity'::timestamptz), priority DESC, enqueued_at) WHERE status = 'READY';

CREATE TABLE periodic_tasks (
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
  enabled           boolean NOT NULL DEFAULT TRUE,
  created_at        timestamptz NOT NULL DEFAULT now(),
  updated_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_periodic_tasks_next_run ON periodic_tasks (next_run_at) WHERE enabled;

CREATE TABLE reproq_queue_controls (
  queue_name text PRIMARY KEY,
  paused     boolean NOT NULL DEFAULT FALSE,
  paused_at  timestamptz,
  reason     text,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE reproq_workers (
  worker_id    text PRIMARY KEY,
  hostname     text,
  concurrency  integer,
  queues       jsonb NOT NULL DEFAULT '[]',
  started_at   timestamptz NOT NULL DEFAULT now(),
  last_seen_at timestamptz NOT NULL DEFAULT now(),
  version      text
);

CREATE TABLE rate_limits (
  key               text PRIMARY KEY,
  tokens_per_second real NOT NULL,
  burst_size        integer NOT NULL,
  current_tokens    real NOT NULL,
  last_refilled_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens) VALUES ('global', 0, 1, 0);

CREATE TABLE workflow_runs (
  workflow_id        uuid PRIMARY KEY,
  expected_count     integer NOT NULL,
  success_count      integer NOT NULL DEFAULT 0,
  failure_count      integer NOT NULL DEFAULT 0,
  callback_result_id bigint,
  status             text NOT NULL DEFAULT 'RUNNING',
  created_at         timestamptz NOT NULL DEFAULT now(),
  updated_at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_workflow_runs_callback ON workflow_runs (callback_result_id);

CREATE FUNCTION reproq_task_path_from_spec() RETURNS trigger AS $$
BEGIN
  IF NEW.task_path IS NULL OR NEW.task_path = '' THEN
    NEW.task_path := NEW.spec_json->>'task_path';
  END IF;
  RETURN NEW;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER trg_task_runs_task_path BEFORE INSERT OR UPDATE OF spec_json, task_path ON task_runs
  FOR EACH ROW EXECUTE FUNCTION reproq_task_path_from_spec();
ALTER TABLE task_runs ADD CONSTRAINT task_runs_task_path_not_empty CHECK (task_path IS NOT NULL AND task_path <> '') NOT VALID;
