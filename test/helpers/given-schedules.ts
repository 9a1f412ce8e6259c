import type { Given } from './given.js'

/** A row as Django writes it: every column it knows, none of ours; and what else is asked for. Due a moment ago unless said. */
export async function givenSchedule({ others }: Pick<Given, 'others'>, name: string, columns: Record<string, unknown> = {}): Promise<void> {
  const now = new Date()
  const row = { name, cron_expr: '*/5 * * * *', task_path: 'app.tasks.tick', payload_json: '{}', queue_name: 'default', priority: 0, max_attempts: 3, concurrency_limit: 0, enabled: true, next_run_at: now, created_at: now, updated_at: now, ...columns }
  const names = Object.keys(row)
  await others.query(`INSERT INTO periodic_tasks (${names.join(', ')}) VALUES (${names.map((_, at) => `$${at + 1}`).join(', ')})`, Object.values(row))
}

export interface ScheduleRow {
  enabled: boolean
  last_run_at: Date | null
  next_run_at: Date
  /** Milliseconds until next_run_at, by the database's clock. */
  next_in_ms: number
  reproq_error: string | null
  reproq_skipped: string
  reproq_replan: boolean
  reproq_source: string | null
}

export async function scheduleRow({ others }: Pick<Given, 'others'>, name: string): Promise<ScheduleRow> {
  const { rows } = await others.query<ScheduleRow>('SELECT *, extract(epoch FROM next_run_at - clock_timestamp())::float8 * 1000 AS next_in_ms FROM periodic_tasks WHERE name = $1', [name])
  if (!rows[0]) throw new Error(`there is no schedule ${name}`)
  return rows[0]
}

/** Slots that made a run, oldest first, by what the runs say. */
export async function slotsOf({ others }: Pick<Given, 'others'>, name: string): Promise<string[]> {
  const { rows } = await others.query<{ slot: string }>(`SELECT spec_json->>'scheduled_at' AS slot FROM task_runs WHERE spec_json->>'periodic_name' = $1 ORDER BY 1, result_id`, [name])
  return rows.map(({ slot }) => slot)
}
