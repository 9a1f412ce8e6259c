-- Note why schedules $1 (name[]) cannot be fired as they are: $3 (text[]), while they still are version $2 (text[]).
UPDATE periodic_tasks p SET reproq_error = i.error, reproq_error_at = now()
  FROM unnest($1::text[], $2::text[], $3::text[]) AS i (name, version, error)
 WHERE p.name = i.name AND p.xmin::text = i.version
