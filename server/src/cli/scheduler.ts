import type { Command } from 'commander'
import { Pool } from '../db/pool.js'
import { setMode } from '../schedules/leadership.js'
import { installPgCron, pgCronStatus, removePgCron, syncPgCron } from '../schedules/pg-cron.js'
import { withDatabase } from './database.js'
import { failure } from './failure.js'
import { addOutput, printRows, type Format } from './output.js'

interface DatabaseOptions {
  databaseUrl?: string
}

/** `reproq schedules use` and `pg-cron`: which one scheduler a database has. On the database itself: no broker need run. */
export function registerScheduler(schedules: Command): void {
  const onDatabase = (command: Command) => command.option('--database-url <url>', 'Postgres of the broker [REPROQ_DATABASE_URL, DATABASE_URL]')

  onDatabase(schedules.command('use <scheduler>'))
    .description('who fires schedules in this database: broker, or off (nobody); pg_cron is chosen by: pg-cron install')
    .addHelpText('after', '\nExample:\n  reproq schedules use off')
    .action(async (scheduler: string, { databaseUrl }: DatabaseOptions) => {
      if (scheduler !== 'broker' && scheduler !== 'off') throw failure('INVALID_OPTION', `The scheduler is broker or off, not "${scheduler}"`, 'for pg_cron: reproq schedules pg-cron install')
      await within(databaseUrl, async (pool) => {
        const { mode } = await pgCronStatus(pool)
        // Its jobs would go on beside the brokers.
        if (mode === 'pg_cron') await removePgCron(pool)
        await setMode(pool, scheduler)
      })
      process.stderr.write(`The scheduler of this database is now: ${scheduler}\n`)
    })

  const pgCron = schedules.command('pg-cron').description('Let pg_cron fire schedules, without a broker: five-field expressions in UTC. Brokers then stand still.')
  const command = (name: string) => addOutput(onDatabase(pgCron.command(name)))
  const show = (output: Format, databaseUrl: string | undefined, before: (pool: Pool) => Promise<void>) =>
    within(databaseUrl, async (pool) => {
      await before(pool)
      await print(output, pool)
    })

  command('install')
    .description('make pg_cron the scheduler, with a job for each schedule; a trigger keeps them in step')
    .addHelpText('after', '\nExample:\n  reproq schedules pg-cron install --database-url postgres://admin@db/app')
    .action(({ output, databaseUrl }: DatabaseOptions & { output: Format }) => show(output, databaseUrl, installPgCron))
  command('remove')
    .description("take its jobs away; brokers fire again. The extension stays")
    .action(({ output, databaseUrl }: DatabaseOptions & { output: Format }) => show(output, databaseUrl, removePgCron))
  command('sync')
    .description('bring the jobs in step again, when somebody changed them')
    .action(({ output, databaseUrl }: DatabaseOptions & { output: Format }) => show(output, databaseUrl, syncPgCron))
  command('status')
    .description('each schedule and its job: in_step, missing, differs, stray, or not_covered (which only a broker can fire)')
    .addHelpText('after', '\nExample:\n  reproq schedules pg-cron status')
    .action(({ output, databaseUrl }: DatabaseOptions & { output: Format }) => show(output, databaseUrl, async () => undefined))
}

async function print(output: Format, pool: Pool): Promise<void> {
  const { mode, zone, jobs } = await pgCronStatus(pool)
  await printRows(output, jobs, {
    id: ({ name, job }) => name ?? job ?? '',
    columns: { name: (row) => row.name, job: (row) => row.job, schedule: (row) => row.schedule, state: (row) => row.state },
  })
  process.stderr.write(`The scheduler of this database is: ${mode}${zone === null ? '' : `; pg_cron reads its jobs in ${zone}`}\n`)
  const uncovered = jobs.filter(({ state }) => state === 'not_covered').length
  if (mode === 'pg_cron' && uncovered > 0) process.stderr.write(`${uncovered} of the schedules fire only with a broker (a time zone, seconds, or @every)\n`)
}

function within(databaseUrl: string | undefined, work: (pool: Pool) => Promise<void>): Promise<void> {
  return withDatabase(databaseUrl, async (url) => {
    const pool = new Pool(url, 1)
    try {
      await work(pool)
    } finally {
      await pool.close()
    }
  })
}
