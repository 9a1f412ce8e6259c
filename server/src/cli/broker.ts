import type { Command } from 'commander'
import pg from 'pg'
import { Broker } from '../broker.js'
import { migrate, schemaState } from '../db/migrate.js'
import { BrokerError } from '../errors.js'
import { paint } from './explain.js'
import { addSettingOptions, configOf } from './settings-options.js'
import { stopSignal } from './stop-signals.js'

/** `reproq broker`: the broker alone, on your Postgres. */
export function registerBroker(program: Command): void {
  addSettingOptions(program.command('broker').description('Start the broker on your Postgres (REPROQ_DATABASE_URL or DATABASE_URL).'))
    .option('--migrate', 'bring the database to the schema of this version first')
    .addHelpText('after', '\nExamples:\n  REPROQ_DATABASE_URL=postgres://… reproq broker --migrate\n  reproq broker --host 0.0.0.0 --port 4700 --lease-ms 30000')
    .action(async (options: { migrate?: boolean }) => {
      const config = configOf(options)
      if (config.databaseUrl === '') throw new BrokerError('INVALID_SETTING', 'No database: REPROQ_DATABASE_URL, DATABASE_URL and --database-url are all empty')
      if (options.migrate) await migrate({ url: config.databaseUrl })
      else await mustBeCurrent(config.databaseUrl)
      const broker = new Broker(config)
      const { url } = await broker.start()
      process.stderr.write(`${paint('green', '✔')} broker  ${url}   docs ${url}/docs   stop with Ctrl-C\n`)
      await stopSignal(() => undefined)
      await broker.stop()
      process.exit(0)
    })
}

/** A broker does not change a production schema by itself; it says which command does. */
async function mustBeCurrent(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { pending, newer, current, latest } = await schemaState(client)
    if (newer) throw Object.assign(new Error(`The database has schema version ${current}; this broker knows ${latest}`), { code: 'SCHEMA_NEWER', hint: 'install the version of reproq that migrated it' })
    if (pending.length > 0) throw Object.assign(new Error(`The database lacks ${pending.length} migration(s): ${pending.join(', ')}`), { code: 'SCHEMA_BEHIND', hint: 'reproq migrate, or start the broker with --migrate' })
  } finally {
    await client.end()
  }
}
