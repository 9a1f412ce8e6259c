-- Fire slots, one of each schedule at most, by reproq_fire: each on its own, so that a row that cannot be fired stops no other.
-- $1 name[] $2 version[] $3 slot[] (null: fire none, only move on) $4 next slot[] $5 run not before[] $6 spec[] $7 spec_hash[].
SELECT i.name, f.outcome, f.result_id::text AS run, f.error
  FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[])
       AS i (name, version, slot, next_at, due_at, spec, spec_hash)
 CROSS JOIN LATERAL reproq_fire(i.name, i.version, i.slot, i.next_at, i.due_at, i.spec::jsonb, i.spec_hash, 'broker') AS f
