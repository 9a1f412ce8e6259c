-- Make a run of schedule $1 now, beside its slots and whether or not it is paused: spec $2, spec_hash $3. Returns the run; no row when there is no such schedule.
SELECT reproq_insert_scheduled(p, clock_timestamp(), now(), $2::text::jsonb, $3, 'manual')::text AS run FROM periodic_tasks p WHERE p.name = $1
