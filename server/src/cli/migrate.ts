import type { Command } from 'commander'
import { migrate } from '../db/migrate.js'
import { withDatabase } from './database.js'

/** `reproq migrate`: creates or adopts Reproq's tables and adds ours. */
export function registerMigrate(program: Command): void {
  program
    .command('migrate')
    .description("Bring the database to the schema of this version. On a database that Django or the Go worker made, it adds what is missing and rewrites nothing.")
    .option('--database-url <url>', 'Postgres 14 to 18 [REPROQ_DATABASE_URL, DATABASE_URL]')
    .addHelpText('after', '\nExamples:\n  reproq migrate --database-url postgres://localhost/app\n  manage.py migrate && reproq migrate')
    .action(async ({ databaseUrl }: { databaseUrl?: string }) => {
      const { applied, version } = await withDatabase(databaseUrl, (url) => migrate({ url }))
      process.stdout.write(applied.length === 0 ? `schema version ${version}, nothing to do\n` : `schema version ${version}, applied: ${applied.join(', ')}\n`)
    })
}
