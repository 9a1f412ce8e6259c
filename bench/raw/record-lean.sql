-- The same table with only what a claim and asked-for uniqueness need.
CREATE TABLE task_runs (
  result_id bigserial PRIMARY KEY, backend_alias text NOT NULL DEFAULT 'default', queue_name text NOT NULL DEFAULT 'default',
  priority integer NOT NULL DEFAULT 0, run_after timestamptz, spec_json jsonb NOT NULL, spec_hash char(64) NOT NULL, task_path text,
  status text NOT NULL DEFAULT 'READY', enqueued_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz,
  last_attempted_at timestamptz, finished_at timestamptz, attempts integer NOT NULL DEFAULT 0, max_attempts integer NOT NULL DEFAULT 3,
  timeout_seconds integer NOT NULL DEFAULT 900, lock_key text, concurrency_key text, concurrency_limit integer NOT NULL DEFAULT 0,
  worker_ids jsonb NOT NULL DEFAULT '[]', return_json jsonb, errors_json jsonb NOT NULL DEFAULT '[]', metadata_json jsonb NOT NULL DEFAULT '{}',
  last_error text, failed_at timestamptz, leased_until timestamptz, leased_by text, logs_uri text, artifacts_uri text, expires_at timestamptz,
  parent_id bigint, workflow_id uuid, wait_count integer NOT NULL DEFAULT 0, dedup boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), cancel_requested boolean NOT NULL DEFAULT false
);
CREATE INDEX ON task_runs (queue_name, priority DESC, result_id) WHERE status = 'READY';
CREATE UNIQUE INDEX ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING') AND dedup;
