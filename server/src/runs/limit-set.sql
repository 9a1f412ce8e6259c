-- Rate limit $1: $2 tokens a second flow in, $3 is how many it holds. It begins full, as Reproq's does, and
-- what runs say of it does not change it.
INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens, reproq_by_hand) VALUES ($1, $2, $3::int, $3::int, true)
ON CONFLICT (key) DO UPDATE SET tokens_per_second = excluded.tokens_per_second, burst_size = excluded.burst_size,
                                current_tokens = excluded.current_tokens, last_refilled_at = now(), reproq_by_hand = true
