-- A token named $1 with digest $2 and scopes $3 (text[]), for $4 seconds (null: for good). An older one of that name ends.
INSERT INTO reproq_tokens (name, token_hash, scopes, expires_at) VALUES ($1, $2, $3, now() + $4::float8 * interval '1 s')
ON CONFLICT (name) DO UPDATE SET token_hash = excluded.token_hash, scopes = excluded.scopes, expires_at = excluded.expires_at, created_at = now()
