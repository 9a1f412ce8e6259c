-- Of the digests $1 (text[], hex), the tokens that have not ended.
SELECT name, scopes, encode(token_hash, 'hex') AS hash FROM reproq_tokens
 WHERE token_hash = ANY (ARRAY(SELECT decode(h, 'hex') FROM unnest($1::text[]) AS h)) AND (expires_at IS NULL OR expires_at > now())
