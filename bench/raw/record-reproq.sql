-- Reproq's own table with the ten indexes its Django migrations make: what a run costs there.
CREATE TABLE task_runs (
  result_id bigserial PRIMARY KEY, backend_alias text NOT NULL DEFAULT 'default', queue_name text NOT NULL DEFAULT 'default',
  priority integer NOT NULL DEFAULT 0, run_after timestamptz, spec_json jsonb NOT NULL, spec_hash char(64) NOT NULL, task_path text,
  status text NOT NULL DEFAULT 'READY', enqueued_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz,
  last_attempted_at timestamptz, finished_at timestamptz, attempts integer NOT NULL DEFAULT 0, max_attempts integer NOT NULL DEFAULT 3,
  timeout_seconds integer NOT NULL DEFAULT 900, lock_key text, concurrency_key text, concurrency_limit integer NOT NULL DEFAULT 0,
  worker_ids jsonb NOT NULL DEFAULT '[]', return_json jsonb, errors_json jsonb NOT NULL DEFAULT '[]', metadata_json jsonb NOT NULL DEFAULT '{}',
  last_error text, failed_at timestamptz, leased_until timestamptz, leased_by text, logs_uri text, artifacts_uri text, expires_at timestamptz,
  parent_id bigint REFERENCES task_runs (result_id) ON DELETE SET NULL, workflow_id uuid, wait_count integer NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), cancel_requested boolean NOT NULL DEFAULT false
);
CREATE INDEX ON task_runs (queue_name, status, priority DESC, enqueued_at) WHERE status = 'READY';
CREATE UNIQUE INDEX ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING');
CREATE INDEX ON task_runs (lock_key) WHERE status = 'RUNNING';
CREATE INDEX ON task_runs (concurrency_key, leased_until) WHERE status = 'RUNNING' AND concurrency_key IS NOT NULL;
CREATE INDEX ON task_runs (parent_id) WHERE status = 'WAITING';
CREATE INDEX ON task_runs (workflow_id);
CREATE INDEX ON task_runs (failed_at) WHERE status = 'FAILED';
CREATE INDEX ON task_runs (task_path);
CREATE INDEX ON task_runs (queue_name, coalesce(run_after, '-infinity'), priority DESC, enqueued_at) WHERE status = 'READY';
