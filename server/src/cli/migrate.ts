import type { Command } from 'commander'
import pg from 'pg'
import { migrate, planned } from '../db/migrate.js'
import { withDatabase } from './database.js'
import { write } from './output.js'

interface MigrateFlags {
  databaseUrl?: string
  dryRun?: boolean
  plan?: boolean
}

/** `reproq migrate`: creates or adopts Reproq's tables and adds ours. */
export function registerMigrate(program: Command): void {
  program
    .command('migrate')
    .description("Bring the database to the schema of this version. On a database that Django or the Go worker made, it adds what is missing and rewrites nothing.")
    .option('--database-url <url>', 'Postgres 14 to 18 [REPROQ_DATABASE_URL, DATABASE_URL]')
    .option('--dry-run', 'only name what would be applied')
    .option('--plan', 'only print the SQL of what would be applied')
    .addHelpText('after', '\nExamples:\n  reproq migrate --database-url postgres://localhost/app\n  manage.py migrate && reproq migrate')
    .action(async ({ databaseUrl, dryRun, plan }: MigrateFlags) =>
      withDatabase(databaseUrl, async (url) => {
        if (dryRun || plan) return show(url, plan === true)
        const { applied, version } = await migrate({ url })
        write(applied.length === 0 ? `schema version ${version}, nothing to do\n` : `schema version ${version}, applied: ${applied.join(', ')}\n`)
      }),
    )
}

async function show(url: string, withSql: boolean): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const waiting = await planned(client)
    if (waiting.length === 0) process.stderr.write('the schema is up to date, nothing to do\n')
    for (const { name, sql } of waiting) write(withSql ? `-- ${name}\n${sql}\n` : `${name}\n`)
  } finally {
    await client.end()
  }
}
