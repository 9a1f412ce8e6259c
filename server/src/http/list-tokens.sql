-- Every token that has not expired, by name.
SELECT name, scopes, created_at AS "createdAt", expires_at AS "expiresAt" FROM reproq_tokens WHERE expires_at IS NULL OR expires_at > now() ORDER BY name
