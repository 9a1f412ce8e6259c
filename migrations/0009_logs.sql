-- What running code says: its output, its checkpoint; and how often it took its process with it.

-- Both null for nearly every run. The checkpoint is JSON exactly as the code wrote it, for the next attempt.
ALTER TABLE task_runs ADD COLUMN IF NOT EXISTS reproq_checkpoint text, ADD COLUMN IF NOT EXISTS reproq_crashes smallint;

-- Pieces of output, kept as long as their run. By an id of its own and not by the worker's numbers: an attempt that was
-- given back has the same number as the one that follows it.
CREATE TABLE reproq_logs (
  result_id bigint NOT NULL REFERENCES task_runs (result_id) ON DELETE CASCADE,
  entry_id  bigint GENERATED ALWAYS AS IDENTITY,
  attempt   integer NOT NULL,
  seq       integer NOT NULL,
  stream    text NOT NULL,
  dropped   bigint NOT NULL DEFAULT 0,
  logged_at timestamptz NOT NULL DEFAULT now(),
  text      text NOT NULL,
  PRIMARY KEY (result_id, entry_id)
);

-- A run that is over needs neither; one that somebody makes ready again begins anew.
CREATE FUNCTION reproq_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE task_runs SET reproq_checkpoint = NULL, reproq_crashes = NULL WHERE result_id = NEW.result_id;
  RETURN NULL;
END $$;
CREATE TRIGGER reproq_forget AFTER UPDATE ON task_runs FOR EACH ROW
  WHEN ((NEW.reproq_checkpoint IS NOT NULL OR NEW.reproq_crashes IS NOT NULL) AND NEW.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED'))
  EXECUTE FUNCTION reproq_forget();

-- One row: what the links in logs_uri are signed with. Another secret, and every link that was written before is refused:
-- UPDATE reproq_log_links SET secret = DEFAULT. Two UUIDs are 244 random bits, of the server's own generator.
CREATE TABLE reproq_log_links (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  secret    bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
);
INSERT INTO reproq_log_links DEFAULT VALUES;
