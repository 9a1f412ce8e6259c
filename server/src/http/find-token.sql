-- The token with digest $1, unless it has expired.
SELECT name, scopes FROM reproq_tokens WHERE token_hash = $1 AND (expires_at IS NULL OR expires_at > now())
