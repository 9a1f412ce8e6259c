-- The token named $1 ends.
DELETE FROM reproq_tokens WHERE name = $1 RETURNING name
