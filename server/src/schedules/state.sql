-- Which scheduler this database has, who leads, and the database's time.
SELECT mode, CASE WHEN leader_until >= now() THEN leader_id END AS leader, leader_since AS "leaderSince", leader_until AS "leaderUntil",
       floor(extract(epoch FROM now()) * 1000)::float8 AS "nowMs"
  FROM reproq_scheduler
