-- Another secret: every link that was signed before is refused.
INSERT INTO reproq_log_links DEFAULT VALUES ON CONFLICT (singleton) DO UPDATE SET secret = excluded.secret
