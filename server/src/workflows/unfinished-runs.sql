-- Runs of workflow $1 (uuid), and which of them may still be cancelled.
SELECT result_id::text AS run, status IN ('WAITING', 'READY', 'RUNNING') AS unfinished FROM task_runs WHERE workflow_id = $1::uuid
