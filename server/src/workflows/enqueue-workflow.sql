-- Make a workflow of nodes $1 (json array, parents before children) named $2 (or null), once per idempotency key $3 (or null).
-- Returns its id, whether the key had one already, and the ids of its runs by name (json text).
SELECT workflow_id::text AS id, deduplicated, runs::text FROM reproq_enqueue_workflow($1::jsonb, $2::text, $3::text, checked => true)
