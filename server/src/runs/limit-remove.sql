-- Rate limit $1 is gone. Returns a row if there was one.
DELETE FROM rate_limits WHERE key = $1 RETURNING key
