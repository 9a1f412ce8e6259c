-- pg_cron in the broker's place. Its tables are named only inside these functions, which nobody calls where it is not.

-- Job names as `manage.py reproq pg-cron` makes them, so that neither leaves the other's jobs behind.
CREATE FUNCTION reproq_pg_cron_job(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN length(base) <= 63 THEN base ELSE left(base, 54) || '_' || left(encode(sha256(convert_to(base, 'UTF8')), 'hex'), 8) END
    FROM (SELECT 'reproq_periodic_' || coalesce(nullif(btrim(regexp_replace(name, '[^a-zA-Z0-9_]+', '_', 'g'), '_'), ''), left(encode(sha256(convert_to(name, 'UTF8')), 'hex'), 8)) AS base) AS named
$$;

-- The job that each enabled schedule should have; of two names that make one job name, the second carries a digest. A pg_cron
-- that keeps another zone than UTC looks every minute, and the slot rule decides.
CREATE FUNCTION reproq_pg_cron_wanted() RETURNS TABLE (name text, job text, schedule text, command text) LANGUAGE sql STABLE AS $$
  SELECT p.name, CASE WHEN row_number() OVER (PARTITION BY reproq_pg_cron_job(p.name) ORDER BY p.name) = 1 THEN reproq_pg_cron_job(p.name)
                      ELSE left(reproq_pg_cron_job(p.name), 54) || '_' || left(encode(sha256(convert_to(p.name, 'UTF8')), 'hex'), 8) END,
         CASE WHEN coalesce(current_setting('cron.timezone', true), 'GMT') IN ('GMT', 'UTC', 'Etc/UTC') THEN array_to_string(reproq_cron_plain(p.cron_expr, p.reproq_time_zone), ' ') ELSE '* * * * *' END,
         'SELECT reproq_enqueue_periodic_task(''' || replace(p.name, '''', '''''') || ''');'
    FROM periodic_tasks p WHERE p.enabled AND reproq_cron_plain(p.cron_expr, p.reproq_time_zone) IS NOT NULL
$$;

-- What each schedule has and should have: in_step, missing, differs; stray for a job whose schedule is gone; not_covered for a
-- schedule that pg_cron cannot fire.
CREATE FUNCTION reproq_pg_cron_status() RETURNS TABLE (name text, job text, schedule text, state text) LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF to_regclass('cron.job') IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY
    SELECT w.name, coalesce(w.job, j.jobname::text), coalesce(j.schedule, w.schedule),
           CASE WHEN w.job IS NULL THEN 'stray' WHEN j.jobid IS NULL THEN 'missing' WHEN (j.schedule, j.command) = (w.schedule, w.command) AND j.active THEN 'in_step' ELSE 'differs' END
      FROM reproq_pg_cron_wanted() w
      FULL JOIN (SELECT * FROM cron.job c WHERE c.command LIKE 'SELECT reproq_enqueue_periodic_task(%' AND c.database = current_database()) j ON j.jobname::text = w.job
    UNION ALL
    SELECT p.name, NULL, p.cron_expr, 'not_covered' FROM periodic_tasks p WHERE p.enabled AND reproq_cron_plain(p.cron_expr, p.reproq_time_zone) IS NULL
    ORDER BY 1, 2;
END $$;

-- With the rights of whoever migrated, so that all jobs have one owner whoever edits a schedule.
CREATE FUNCTION reproq_pg_cron_sync() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  one record;
BEGIN
  UPDATE periodic_tasks p SET next_run_at = reproq_cron_next(p.cron_expr, p.reproq_time_zone, now()), reproq_replan = false
   WHERE p.enabled AND p.reproq_replan AND reproq_cron_next(p.cron_expr, p.reproq_time_zone, now()) IS NOT NULL;
  FOR one IN SELECT j.jobid FROM cron.job j
              WHERE j.command LIKE 'SELECT reproq_enqueue_periodic_task(%' AND j.database = current_database()
                AND NOT EXISTS (SELECT FROM reproq_pg_cron_wanted() w WHERE (w.job, w.schedule, w.command) = (j.jobname::text, j.schedule, j.command) AND j.active) LOOP
    PERFORM cron.unschedule(one.jobid);
  END LOOP;
  FOR one IN SELECT w.* FROM reproq_pg_cron_wanted() w WHERE NOT EXISTS (SELECT FROM cron.job j WHERE j.jobname::text = w.job AND j.database = current_database()) LOOP
    PERFORM cron.schedule(one.job, one.schedule, one.command);
  END LOOP;
END $$;

-- Temporary tables last: nobody's own "periodic_tasks" is to be read, or its triggers run, with these rights.
DO $$ BEGIN EXECUTE 'ALTER FUNCTION reproq_pg_cron_sync() SET search_path TO ' || current_setting('search_path') || ', pg_temp'; END $$;

CREATE FUNCTION reproq_pg_cron_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM reproq_pg_cron_sync();
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- The change is wanted all the same; `reproq schedules pg-cron status` shows what is out of step.
  RAISE WARNING 'The jobs of pg_cron could not follow: %', SQLERRM;
  RETURN NULL;
END $$;

CREATE FUNCTION reproq_pg_cron_install() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_cron;
  -- Again, because `manage.py reproq pg-cron` may have put its own here.
  EXECUTE 'CREATE OR REPLACE FUNCTION reproq_enqueue_periodic_task(task_name text) RETURNS void LANGUAGE plpgsql AS $f$ BEGIN PERFORM reproq_fire_due(task_name); END $f$';
  UPDATE reproq_scheduler SET mode = 'pg_cron', leader_id = NULL, leader_since = NULL, leader_until = NULL;
  DROP TRIGGER IF EXISTS reproq_pg_cron ON periodic_tasks;
  CREATE TRIGGER reproq_pg_cron AFTER INSERT OR DELETE OR UPDATE OF cron_expr, enabled, reproq_time_zone ON periodic_tasks
    FOR EACH STATEMENT EXECUTE FUNCTION reproq_pg_cron_follow();
  PERFORM reproq_pg_cron_sync();
END $$;

-- Jobs go, the brokers' scheduler takes over. The extension stays: others may use it.
CREATE FUNCTION reproq_pg_cron_remove() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DROP TRIGGER IF EXISTS reproq_pg_cron ON periodic_tasks;
  IF to_regclass('cron.job') IS NOT NULL THEN
    PERFORM cron.unschedule(j.jobid) FROM cron.job j WHERE j.command LIKE 'SELECT reproq_enqueue_periodic_task(%' AND j.database = current_database();
  END IF;
  UPDATE reproq_scheduler SET mode = 'broker';
END $$;
