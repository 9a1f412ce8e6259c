-- Which scheduler this database has, and who leads.
SELECT mode, CASE WHEN leader_until >= now() THEN leader_id END AS leader, leader_since AS "leaderSince", leader_until AS "leaderUntil" FROM reproq_scheduler
