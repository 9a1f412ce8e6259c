-- The token with digest $1, unless it has expired.
SELECT name, scopes, encode(token_hash, 'hex') AS hash FROM reproq_tokens WHERE token_hash = $1 AND (expires_at IS NULL OR expires_at > now())
