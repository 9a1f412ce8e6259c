-- Blocked → ready for what has got room, looking at $1 keys at most. Returns the queues that have got ready runs, whether there may be
-- more, and how long until a rate has its next token (ms, null when no run waits for one).
SELECT queues, more, next_ms AS "nextMs" FROM reproq_unblock($1::int)
